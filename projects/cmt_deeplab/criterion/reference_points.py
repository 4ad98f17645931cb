"""Reference points of segments: where a segment lies and how far it reaches, in five points."""

import torch
from torch import Tensor

from cmt_deeplab.geometry import corners_aligned, pixel_positions
from cmt_deeplab.precision import widest_float


def _line_sums(
    segment: Tensor, line: Tensor, across: Tensor, num_segments: int, num_lines: int
) -> tuple[Tensor, Tensor]:
    """Count the pixels of each segment on each line (row or column), and sum their positions.

    Args:
        segment: (H, W) segment index of each pixel, ``num_segments`` where there is none.
        line: (H, W) number of the pixel's line.
        across: (H, W) position of the pixel on its line.

    Returns:
        Counts and sums of positions, (K, num_lines) int32 each, exact.
    """
    bucket = (segment * num_lines + line).flatten()
    count, position = (
        torch.zeros((num_segments + 1) * num_lines, dtype=torch.int32, device=segment.device)
        .scatter_add_(0, bucket, source.flatten())
        .view(-1, num_lines)[:num_segments]
        for source in (torch.ones_like(across), across)
    )
    return count, position


def _end_points(
    count: Tensor, position: Tensor, along: Tensor, across: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean pixel of the first and of the last line that each segment touches.

    ``along`` and ``across`` are the coordinates of the lines and of the pixels on a line. Both
    results are (K, 2): the coordinate along the lines' axis, then the one across it.
    """
    touched = (count > 0).to(torch.int32)
    first = touched.argmax(1, keepdim=True)
    last = count.shape[1] - 1 - touched.flip(1).argmax(1, keepdim=True)
    # Coordinates are linear in the position, so the mean position has the mean coordinate.
    slope = (across[-1] - across[0]) / max(len(across) - 1, 1)

    def point(line: Tensor) -> Tensor:
        total, number = position.gather(1, line).to(along.dtype), count.gather(1, line)
        mean = total / number.clamp(min=1)  # in pixels
        return torch.cat([along[line], across[0] + mean * slope], 1)

    return point(first), point(last)


@torch.no_grad()
def segment_reference_points(index: Tensor, num_segments: int) -> Tensor:
    """Reference points of the K segments of one index plane (H, W), at full resolution.

    The order is: mass center, then the mean point of the segment's topmost row, leftmost column,
    bottom row and rightmost column. Positions are (x, y) in the frame of the padded input, which
    spans [0, 1]; see :mod:`cmt_deeplab.geometry` for aligned corners (odd sides) and cells (even
    sides). A segment without pixels gets some finite point. Everything is computed from sums over
    rows and columns of the plane, without a mask per segment, in fp64 where the device has it.

    The five points are a choice of this project: the abstract of the CMT-DeepLab paper names a
    reference mask, but not its points.

    Returns:
        (K, 5, 2) float32.
    """
    height, width = index.shape
    device = index.device
    known = (index >= 0) & (index < num_segments)
    segment = torch.where(known, index.long(), num_segments)
    rows = torch.arange(height, device=device, dtype=torch.int32)[:, None].expand(height, width)
    columns = torch.arange(width, device=device, dtype=torch.int32)[None].expand(height, width)
    x, y = (
        pixel_positions(
            side, align_corners=corners_aligned(side), device=device, dtype=widest_float(index)
        )
        for side in (width, height)
    )
    in_rows = _line_sums(segment, rows, columns, num_segments, height)
    in_columns = _line_sums(segment, columns, rows, num_segments, width)
    area = in_rows[0].sum(1).clamp(min=1)
    center = torch.stack([(in_columns[0] * x).sum(1) / area, (in_rows[0] * y).sum(1) / area], 1)
    top, bottom = (point.flip(1) for point in _end_points(*in_rows, y, x))
    left, right = _end_points(*in_columns, x, y)
    return torch.stack([center, top, left, bottom, right], 1).float()
