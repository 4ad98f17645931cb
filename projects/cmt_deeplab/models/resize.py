"""Bilinear resizing and the sizes of a stride, by the one rule of the model: corners aligned or not."""
from typing import Sequence, Tuple

import torch.nn.functional as F
from torch import Tensor


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool) -> Tensor:
    """Bilinear resize of (B, C, H, W) to ``size``; the input itself where the size is right already."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=align_corners)


def doubled(size: Sequence[int], *, align_corners: bool) -> Tuple[int, int]:
    """Size at half the stride: 2n - 1 where corners are aligned (32k+1 inputs), 2n where not (32k inputs)."""
    return tuple(2 * side - int(align_corners) for side in size)


def padded_side(side: int, *, align_corners: bool, divisor: int = 32) -> int:
    """Smallest network input that holds ``side`` pixels: 32k+1 where corners are aligned, 32k where not."""
    extra = int(align_corners)
    return max(-(-(side - extra) // divisor), 1) * divisor + extra
