"""Reference points of segments: where a segment is and how far it reaches, in five points."""

import torch
from torch import Tensor

from cmt_deeplab.geometry import pixel_positions

NUM_REFERENCE_POINTS = 5  # mass center, top, left, bottom, right


def _line_sums(
    segment: Tensor, line: Tensor, across: Tensor, num_segments: int, num_lines: int
) -> tuple[Tensor, Tensor]:
    """Pixels of each segment on each line (row or column), and the sum of their positions across it: two (K, num_lines), exact."""
    bucket = (segment * num_lines + line).flatten()
    sums = [
        torch.zeros(
            (num_segments + 1) * num_lines, dtype=torch.int32, device=segment.device
        ).scatter_add_(0, bucket, source.flatten())
        for source in (torch.ones_like(across), across)
    ]
    count, position = (s.view(num_segments + 1, num_lines)[:num_segments] for s in sums)
    return count, position


def _end_points(
    count: Tensor, position: Tensor, along: Tensor, across: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean pixel of the first and of the last line that a segment touches: two (K, 2) of (position along the lines' axis, across)."""
    touched = (count > 0).to(torch.int32)
    ends = []
    for line in (
        touched.argmax(1, keepdim=True),
        count.shape[1] - 1 - touched.flip(1).argmax(1, keepdim=True),
    ):
        mean = position.gather(1, line).double() / count.gather(1, line).clamp(
            min=1
        )  # (K, 1), in pixels
        # The coordinate is linear in the pixel's position, so the mean pixel's coordinate is the mean coordinate.
        slope = across[-1] - across[0]
        coordinate = across[0] + mean * (slope / max(len(across) - 1, 1))
        ends.append(torch.cat([along[line], coordinate], 1))
    return ends[0], ends[1]


@torch.no_grad()
def segment_reference_points(index: Tensor, num_segments: int) -> Tensor:
    """Reference points of the K segments of one full-resolution index plane (H, W): (K, 5, 2) float32, (x, y) in [0, 1].

    Order: mass center, then the mean point of the topmost row, of the leftmost column, of the bottom row and of the rightmost column of
    the segment. Pixel (row i, column j) lies at x = j/(W-1) where corners are aligned (odd W), else at (j+0.5)/W; y likewise. A segment
    without pixels gets some finite point. All is computed from per-row and per-column sums of the plane; no mask is built.
    Source: a choice of this project (the paper's abstract names a reference mask, not its points).
    """
    height, width = index.shape
    device = index.device
    segment = index.long()
    segment = torch.where(
        (segment >= 0) & (segment < num_segments), segment, segment.new_full((), num_segments)
    )
    rows = torch.arange(height, device=device, dtype=torch.int32)[:, None].expand(height, width)
    columns = torch.arange(width, device=device, dtype=torch.int32)[None].expand(height, width)
    x, y = (
        pixel_positions(side, align_corners=bool(side % 2), device=device, dtype=torch.float64)
        for side in (width, height)
    )

    row_count, row_position = _line_sums(
        segment, rows, columns, num_segments, height
    )  # (K, H) each
    column_count, column_position = _line_sums(
        segment, columns, rows, num_segments, width
    )  # (K, W) each
    area = row_count.sum(1).clamp(min=1)
    center = torch.stack([(column_count * x).sum(1) / area, (row_count * y).sum(1) / area], 1)
    top, bottom = (point.flip(1) for point in _end_points(row_count, row_position, y, x))
    left, right = _end_points(column_count, column_position, x, y)
    return torch.stack([center, top, left, bottom, right], 1).float()
