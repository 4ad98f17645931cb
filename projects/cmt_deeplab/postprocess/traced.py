"""The merges in a form for export: standard operators, whose shapes depend on sizes only.

All N centers are kept to the end, and those without a segment are empty. So the memory holds a mask
of the output's size for each center, N x H_o x W_o numbers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class TracedGeometry:
    """As :class:`Geometry`, with the sizes of the image and the output as tensors (2,) int64."""

    input: tuple[int, int]
    image: Tensor
    output: Tensor
    align_corners: bool
    two_step: bool

    def resize(self, logits: Tensor) -> Tensor:
        """Logits (N, h, w) at the size of the output, by one matrix of weights for each axis."""
        rows, columns = (self._weights(axis, logits.shape[1 + axis]) for axis in (0, 1))
        return rows @ logits @ columns.t()

    def inside(self, logits: Tensor) -> Tensor:
        """Which points of the grid of ``logits`` (N, h, w) lie on the image, (h, w) bool."""
        kept = []
        for grid, padded, image in zip(logits.shape[1:], self.input, self.image):
            if self.align_corners:
                last = (image - 1) * (grid - 1) // max(padded - 1, 1) + 1
            else:
                last = (image * grid / padded + 0.5).long().clamp(min=1)
            kept.append(torch.arange(grid, device=logits.device) < last)
        return kept[0][:, None] & kept[1]

    def least_share(self, reference: tuple[int, int]) -> Tensor:
        """The pixels of the output that correspond to one of an input of size ``reference``."""
        scale = self.input[0] * self.input[1] / (reference[0] * reference[1])
        return scale * self.output.float().prod() / self.image.float().prod()

    def _weights(self, axis: int, grid: int) -> Tensor:
        """The weights of :func:`axis_taps` as a matrix (O, grid)."""
        output, image, padded = self.output[axis], self.image[axis], self.input[axis]
        pixel = torch.arange(output.item(), device=output.device).float()
        if not self.two_step:
            inside = _moved(pixel, output, image, False).clamp(min=0).minimum(image - 1)
            return _hat(_moved(inside, padded, grid, self.align_corners), grid)
        inside = _moved(pixel, output, image, self.align_corners).clamp(min=0).minimum(image - 1)
        on_grid = torch.arange(padded, device=output.device).float()
        on_grid = _hat(_moved(on_grid, padded, grid, self.align_corners), grid)
        return _hat(inside, padded) @ on_grid


def _moved(pixel: Tensor, side: Tensor | int, new_side: Tensor | int, corners: bool) -> Tensor:
    """As :func:`cmt_deeplab.geometry.rescaled_pixels`, for sizes that may be tensors."""
    if corners:
        return pixel * ((new_side - 1) / torch.as_tensor(side - 1).clamp(min=1))
    return (pixel + 0.5) * (new_side / side) - 0.5


def _hat(position: Tensor, side: int) -> Tensor:
    """The weights of linear interpolation at positions (O,) among ``side`` points, (O, side)."""
    point = torch.arange(side, device=position.device)
    return (1 - (position.clamp(0, side - 1)[:, None] - point).abs()).clamp(min=0)


def traced_merge(
    merge: nn.Module,
    mask_logits: Tensor,
    class_logits: Tensor,
    *,
    input_size: tuple[int, int],
    image_size: Tensor,
    output_size: Tensor,
    align_corners: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The segments that a :class:`PanopticMerge` finds.

    Args:
        mask_logits: (N, h, w).
        class_logits: (N, C+1), void last.
        image_size, output_size: tensors (2,) int64.

    Returns:
        The number of the segment of each pixel (H_o, W_o) int32, 1 for the best score and 0 for
        void; and label, score and area (N,) of segments 1, 2, ..., which are 0 behind the last one.
    """
    geometry = TracedGeometry(
        input_size, image_size, output_size, align_corners, merge.two_step_resize
    )
    confidence, label = class_logits.softmax(-1)[:, :-1].max(-1)
    chosen = merge.is_candidate(confidence, label)
    score, owner = merge.traced_owner(mask_logits, confidence, chosen, geometry)
    stuff_area, thing_area = map(float, merge.smallest_area)
    stuff = label >= merge.num_things_classes
    least = torch.where(stuff, stuff_area, thing_area) * geometry.least_share(merge.area_reference)
    numbers, *rows = _numbered(owner.flatten(), label, score, stuff, least)
    return numbers.view(owner.shape), *rows


def kept_mean(kept: Tensor) -> Tensor:
    """The mean of the values above 0 in each row of (N, ...), or 0 if there are none."""
    return kept.flatten(1).sum(1) / (kept > 0).flatten(1).sum(1).clamp(min=1)


def _before(score: Tensor) -> Tensor:
    """(N, N) bool: [i, j] says whether center j comes before i, by score and then by number."""
    index = torch.arange(len(score), device=score.device)
    higher = score > score[:, None]
    return higher | ((score == score[:, None]) & (index < index[:, None]))


def paste_traced(held: Tensor, score: Tensor, overlap_threshold: float) -> Tensor:
    """As :func:`paste_in_order`, for masks (N, P) bool and scores (N,): owners (P,) int64."""
    from torch._higher_order_ops.scan import scan  # which torch.onnx.export writes as a Scan

    index = torch.arange(len(score), device=score.device)
    order = (_before(score).sum(1) == index[:, None]).long().argmax(1)

    def paste(owner: Tensor, each: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        mask, center = each
        free = mask & (owner < 0)
        pasted = free.float().sum() > mask.float().sum() * overlap_threshold
        return torch.where(free & pasted, center, owner), pasted.clone()

    nobody = torch.full_like(held[0], -1, dtype=torch.int64)
    return scan(paste, nobody, (held[order], order))[0]


def _numbered(
    owner: Tensor, label: Tensor, score: Tensor, stuff: Tensor, least: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :meth:`PanopticMerge.assemble`, for owners (P,) and the smallest areas ``least`` (N,)."""
    index = torch.arange(len(label), device=label.device)
    area = torch.zeros_like(label).index_put((owner.clamp(min=0),), (owner >= 0).long(), True)
    first = _before(score)
    same = (index == index[:, None]) | (stuff & (label == label[:, None]))  # the same segment
    same = same & (area > 0)
    total = (same * area).sum(1)
    kept = (area > 0) & ~(same & first).any(1) & (total >= least)  # by the best of its centers
    number = torch.where(kept, (first & kept).sum(1) + 1, 0)
    place = number == index[:, None] + 1
    of_center = torch.cat([number.new_zeros(1), (same * number).sum(1)])
    rows = ((place * each).sum(1) for each in (label, score, total))
    return of_center[owner + 1].int(), *rows
