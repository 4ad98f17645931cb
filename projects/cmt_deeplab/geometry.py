"""Where pixels lie: corners, strides, padding and the size that an image is resized to.

A network either aligns the corners of its feature maps (``align_corners=True``) or not.

* Aligned: the first and the last pixel of every map lie on the border of the frame. Inputs have
  32k+1 pixels per side, and a map of stride s has (side - 1) / s + 1.
* Not aligned: pixels are cells, and their centers lie inside the frame. Inputs have 32k pixels
  per side, and a map of stride s has side / s.

So an odd side of an input means aligned corners and an even one means cells.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cmt_deeplab.errors import UserError

Size = tuple[int, int]  # height, width


def as_size(value: Sequence[int], key: str) -> Size:
    """The value of a key that is a size.

    Raises:
        UserError: it is no (height, width).
    """
    try:
        height, width = map(int, value)
    except (TypeError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise UserError(f'{key} is {value!r}: give (height, width) in pixels.')
    return height, width


def corners_aligned(side: int) -> bool:
    """Whether an input with this side aligns corners."""
    return side % 2 == 1


def padded_side(side: int, *, align_corners: bool, divisor: int = 32) -> int:
    """The smallest side of an input that holds ``side`` pixels: 32k+1 or 32k."""
    extra = int(align_corners)
    return max(-(-(side - extra) // divisor), 1) * divisor + extra


def doubled(size: Sequence[int], *, align_corners: bool) -> Size:
    """The size of a map at half the stride: 2n - 1 where corners are aligned, else 2n."""
    return tuple(2 * side - int(align_corners) for side in size)


def pixel_positions(
    side: int,
    *,
    align_corners: bool,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Positions (side,) of the pixels of one axis in the frame, which spans [0, 1]."""
    index = torch.arange(side, device=device, dtype=dtype)
    return index / max(side - 1, 1) if align_corners else (index + 0.5) / side


def rescaled_pixels(
    pixel: np.ndarray, side: int, new_side: int, *, align_corners: bool
) -> np.ndarray:
    """Where positions on an axis of ``side`` pixels lie when it has ``new_side`` pixels."""
    if align_corners:
        return pixel * ((new_side - 1) / max(side - 1, 1))
    return (pixel + 0.5) * (new_side / side) - 0.5


def resize(x: Tensor, size: Sequence[int], *, align_corners: bool) -> Tensor:
    """Bilinear resize of maps (B, C, H, W); the input itself where it has that size already."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode='bilinear', align_corners=align_corners)


def stride_between(full: int, small: int) -> int:
    """The stride that leads from an axis of ``full`` pixels to one of ``small``, or 0."""
    if full == small:
        return 1
    if not 1 <= small <= full:
        return 0
    extra = int(
        corners_aligned(full)
    )  # one pixel more than a multiple of the stride, where corners are aligned
    if extra and small == 1:
        return 0
    cells = small - extra
    return (full - extra) // cells if (full - extra) % cells == 0 else 0


def plane_at_stride(plane: Tensor, size: Sequence[int]) -> Tensor:
    """Sample a plane of integers (..., H, W) at the pixels of a map of ``size`` (h, w).

    The result is a view, and no two values are ever mixed. Where corners are aligned it is
    ``[::s, ::s]``, as in deeplab2; otherwise it is the pixel nearest to the center of each cell of
    s x s pixels, ``[s // 2::s, s // 2::s]``.

    Raises:
        UserError: no single stride leads from (H, W) to (h, w).
    """
    (height, width), (h, w) = plane.shape[-2:], size
    stride, stride_x = stride_between(height, h), stride_between(width, w)
    if stride == 1 == stride_x:
        return plane
    if stride == 0 or stride != stride_x or corners_aligned(height) != corners_aligned(width):
        raise UserError(
            f'A prediction of {h}x{w} pixels does not fit the {height}x{width} index plane: pad '
            'the input to 32k+1 pixels on both sides where align_corners=True and to 32k where it '
            'is False, so that (H-1)/(h-1) or H/h is one stride for both sides.'
        )
    start = 0 if corners_aligned(height) else stride // 2
    return plane[..., start::stride, start::stride]


def nearest_pixels(inside: int, padded: int, small: int) -> np.ndarray:
    """Where the pixels of an input lie on a smaller map, along one axis.

    Args:
        inside: number of pixels that are asked for, from the first on.
        padded: number of pixels of the whole axis of the input.
        small: number of pixels of the axis of the map.

    Returns:
        The index of the nearest pixel of the map for each of them, (inside,) int64.
    """
    pixels = np.arange(inside)
    if corners_aligned(padded):
        cells = np.rint(pixels * (small - 1) / max(1, padded - 1))
    else:
        cells = np.floor((pixels + 0.5) * small / padded)
    return cells.astype(np.int64).clip(0, small - 1)


def fitted_size(shape: Sequence[int], size: Size, factor: float = 1.0) -> Size:
    """The largest size of the shape's aspect ratio that fits into ``size``, times ``factor``.

    All sizes are (height, width).
    """
    scale = factor * min(size[0] / shape[0], size[1] / shape[1])
    return max(int(shape[0] * scale + 0.5), 1), max(int(shape[1] * scale + 0.5), 1)


def resize_image(
    image: np.ndarray, height: int, width: int, interpolation: int = cv2.INTER_LINEAR
) -> np.ndarray:
    """Resize an image (H, W) or (H, W, 3), bilinearly unless told otherwise by OpenCV's flag."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=interpolation)


def image_tensor(image: np.ndarray) -> Tensor:
    """(H, W, C) to (C, H, W), a view of the pixels as they lie."""
    image = np.ascontiguousarray(np.atleast_3d(image))
    try:
        return torch.from_numpy(image).permute(2, 0, 1)
    except (TypeError, RuntimeError) as error:
        raise UserError(
            f'An image of the pipeline has the shape {image.shape} and the type {image.dtype}, but '
            'the model reads (height, width, 3) of uint8: convert it.'
        ) from error
