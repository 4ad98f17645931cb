"""Names on the segments of a picture, of which none covers another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .palette import Color

Box = tuple[int, int, int, int]  # left, top, right, bottom
LONGEST_SIDE = 2048  # of the plane that places are sought on
_measure = ImageDraw.Draw(Image.new('RGB', (1, 1)))


@dataclass(frozen=True)
class Label:
    """What is to be written on a segment, if the label has at most ``largest`` pixels."""

    segment: int  # its value in the plane
    text: str
    fill: Color
    area: float  # of the segment, in pixels of the picture
    largest: float


@lru_cache(maxsize=64)
def label_font(size: int) -> ImageFont.FreeTypeFont:
    """The bold sans-serif font that matplotlib carries; it has the letters of most languages."""
    import matplotlib

    return ImageFont.truetype(f'{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans-Bold.ttf', size)


def interior_point(mask: np.ndarray) -> tuple[int, int]:
    """x and y of the pixel that is farthest from the edge of ``mask`` (H, W) uint8, not empty."""
    left, top, width, height = cv2.boundingRect(mask)
    window = np.pad(mask[top : top + height, left : left + width], 1)
    distance = cv2.distanceTransform(window, cv2.DIST_L2, 3)
    x, y = cv2.minMaxLoc(distance)[3]
    return left + x - 1, top + y - 1


def write_labels(canvas: np.ndarray, plane: np.ndarray, labels: Iterable[Label]) -> None:
    """Write labels on the segments of ``plane`` (H, W) into ``canvas``.

    Each stands where its segment is widest and no other label lies, and is larger on a larger
    segment. One that has no free place, or is too large, is left out.
    """
    side = min(plane.shape)
    stride = -(-max(plane.shape) // LONGEST_SIDE)
    free = plane[::stride, ::stride].astype(np.int32)  # -1 where a label lies
    taken: list[Box] = []
    # Small segments come first, because they have the least choice of places.
    for label in sorted(labels, key=lambda label: label.area):
        font = label_font(int(max(10, np.clip(label.area**0.5 / 7, side / 45, side / 22))))
        left, top, right, bottom = _measure.textbbox((0, 0), label.text, font=font)
        width, height = int(right - left + font.size // 2), int(bottom - top + font.size // 2)
        mask = (free == label.segment).astype(np.uint8)
        if width * height > label.largest or not mask.any():
            continue
        x, y = interior_point(mask)
        box = _free_box(taken, plane.shape, (stride * x, stride * y), (width, height))
        if box is not None:
            taken.append(box)
            left, top, right, bottom = (corner // stride for corner in box)
            free[top : bottom + 1, left : right + 1] = -1
            _write(canvas, box, label.text, font, label.fill)


def _write(
    canvas: np.ndarray, box: Box, text: str, font: ImageFont.FreeTypeFont, fill: Color
) -> None:
    """Write a text on a box of ``canvas``, whose other parts stay."""
    margin = box[3] - box[1]  # letters may reach beyond the box
    x, y = (max(0, corner - margin) for corner in box[:2])
    part = canvas[y : box[3] + margin, x : box[2] + margin]
    page = Image.fromarray(part)
    draw = ImageDraw.Draw(page)
    left, top, right, bottom = np.subtract(box, (x, y, x, y)).tolist()
    draw.rounded_rectangle((left, top, right, bottom), radius=font.size // 4, fill=fill)
    middle = (left + right) / 2, (top + bottom) / 2
    draw.text(middle, text, font=font, fill='white', anchor='mm')
    part[:] = np.asarray(page)


def _free_box(
    taken: Sequence[Box], shape: tuple[int, int], center: tuple[int, int], size: tuple[int, int]
) -> Box | None:
    """The box nearest to ``center`` (x, y) that no box in ``taken`` overlaps.

    Boxes of ``size`` (width, height) are tried at the center, then below and above it, always
    within a picture of ``shape`` (height, width); the result is None where none is free.
    """
    width, height = size
    limit = np.maximum(np.subtract(shape[::-1], size) - 1, 1)
    for shift in (0, 1, -1):
        corner = center[0] - width / 2, center[1] - height / 2 + shift * (height + 2)
        left, top = np.clip(corner, 1, limit).astype(int).tolist()
        right, bottom = left + width, top + height
        if all(right <= a or c <= left or bottom <= b or d <= top for a, b, c, d in taken):
            return left, top, right, bottom
    return None


def caption(text: str, width: int, size: int) -> np.ndarray:
    """A strip (h, width, 3) with a dark text on white; the text shrinks where it is too wide."""
    fitting = min(size, int(size * (width - 8) / max(1, label_font(size).getlength(text))))
    page = Image.new('RGB', (width, round(1.7 * size)), 'white')
    font = label_font(max(6, fitting))
    ImageDraw.Draw(page).text((4, page.height / 2), text, font=font, fill=(20, 20, 24), anchor='lm')
    return np.asarray(page)
