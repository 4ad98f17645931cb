"""The index plane at the resolution of a prediction."""
from typing import Tuple

from torch import Tensor


def _axis_stride(full: int, small: int) -> int:
    """Stride that brings ``full`` pixels to ``small``, 0 where none does. An odd number of pixels means aligned corners."""
    if full == small:
        return 1
    if small < 1 or small > full:
        return 0
    if full % 2:  # aligned corners: the first and the last pixel stay the first and the last
        return (full - 1) // (small - 1) if small > 1 and (full - 1) % (small - 1) == 0 else 0
    return full // small if full % small == 0 else 0


def plane_at_stride(index: Tensor, size: Tuple[int, int]) -> Tensor:
    """Sample an index plane (..., H, W) at the pixels of a prediction of ``size`` (h, w): a view, no value is ever mixed.

    Odd sides (32k+1, corners aligned) are sampled at ``[::s, ::s]``, even sides (32k) at the pixel nearest to the centre of each s x s
    cell, ``[s//2::s, s//2::s]``. Source: model section "Criterion" of the design, deeplab2's strided downsampling for odd sides.

    Raises:
        ValueError: no single stride leads from (H, W) to (h, w).
    """
    (height, width), (h, w) = index.shape[-2:], size
    stride, stride_x = _axis_stride(height, h), _axis_stride(width, w)
    if stride == 1 == stride_x:
        return index
    if stride == 0 or stride != stride_x or height % 2 != width % 2:
        raise ValueError(
            f'A prediction of {h}x{w} pixels does not fit the {height}x{width} index plane: pad the input to 32k+1 pixels on both sides '
            'where align_corners=True and to 32k where it is False, so that (H-1)/(h-1) or H/h is one stride for both sides.')
    start = 0 if height % 2 else stride // 2
    return index[..., start::stride, start::stride]
