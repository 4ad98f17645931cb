"""Reference points of segments: where a segment lies and how far it reaches, in five points."""

import torch
from torch import Tensor

from cmt_deeplab.geometry import corners_aligned
from cmt_deeplab.precision import widest_float


def _line_sums(
    segment: Tensor, across: Tensor, dim: int, num_segments: int
) -> tuple[Tensor, Tensor]:
    """Count the pixels of each segment on each line (row or column), and sum their positions.

    Args:
        segment: (B, H, W) segment index of each pixel, ``num_segments`` where there is none.
        across: (1, W) or (H, 1) int32, the position of each pixel on its line.
        dim: 2 where the lines are rows, 1 where they are columns.

    Returns:
        Counts and sums of positions, (B, K, number of lines) int32 each, exact.
    """
    shape = list(segment.shape)
    shape[dim] = num_segments + 1
    count, position = (
        torch.zeros(shape, dtype=torch.int32, device=segment.device).scatter_add_(
            dim, segment, source.expand_as(segment)
        )
        for source in (torch.ones_like(across), across)
    )
    lines_last = (x if dim == 1 else x.transpose(1, 2) for x in (count, position))
    return tuple(x[:, :num_segments] for x in lines_last)


def _end_points(count: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the last line that each segment touches, and its mean position on them.

    Both results are (B, K, 2), in pixels.
    """
    touched = count.clamp(max=1)
    first = touched.argmax(2, keepdim=True)
    last = count.shape[2] - 1 - touched.flip(2).argmax(2, keepdim=True)
    line = torch.cat([first, last], 2)
    total = position.gather(2, line).to(widest_float(count))
    return line.to(total), total / count.gather(2, line).clamp(min=1)


@torch.no_grad()
def segment_reference_points(index: Tensor, num_segments: int) -> Tensor:
    """Reference points of the K segments of index planes (..., H, W), at full resolution.

    The order is: mass center, then the mean point of the segment's topmost row, leftmost column,
    bottom row and rightmost column. Positions are (x, y) in the frame of the padded input, which
    spans [0, 1]; see :mod:`cmt_deeplab.geometry` for aligned corners (odd sides) and cells (even
    sides). A segment without pixels gets some finite point. Everything is computed from sums over
    rows and columns of the plane, without a mask per segment, in fp64 where the device has it.

    The five points are a choice of this project: the abstract of the CMT-DeepLab paper names a
    reference mask, but not its points.

    Returns:
        (..., K, 5, 2) float32.
    """
    *batch, height, width = index.shape
    device = index.device
    known = (index >= 0) & (index < num_segments)
    segment = index.long().masked_fill_(~known, num_segments).view(-1, height, width)
    rows = torch.arange(height, device=device, dtype=torch.int32)[:, None]
    columns = torch.arange(width, device=device, dtype=torch.int32)[None]
    in_rows = _line_sums(segment, columns, 2, num_segments)
    in_columns = _line_sums(segment, rows, 1, num_segments)
    exact, area = widest_float(index), in_rows[0].sum(2, keepdim=True).clamp(min=1)
    row, x_on_row = _end_points(*in_rows)
    column, y_on_column = _end_points(*in_columns)
    center_x = in_columns[0].to(exact) @ columns.to(exact).mT / area  # (B, K, 1)
    center_y = in_rows[0].to(exact) @ rows.to(exact) / area
    x = torch.cat([center_x, torch.stack([x_on_row, column], 3).flatten(2)], 2)
    y = torch.cat([center_y, torch.stack([row, y_on_column], 3).flatten(2)], 2)
    points = torch.stack([_in_frame(x, width), _in_frame(y, height)], 3).float()
    return points.view(*batch, num_segments, *points.shape[2:])


def _in_frame(pixel: Tensor, side: int) -> Tensor:
    """Positions on an axis of so many pixels in the frame, which spans [0, 1]."""
    return pixel / max(side - 1, 1) if corners_aligned(side) else (pixel + 0.5) / side
