"""Panoptic overlays, drawn with one look-up table per image in place of one mask per segment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw, ImageFont

from cmt_deeplab.coco_format import check_num_classes, label_of
from cmt_deeplab.errors import UserError
from cmt_deeplab.planes import ranked, runs

from .palette import Color, segment_colors

VOID_GRAY = (128, 128, 128)
WRONG_RED = (225, 29, 47)
LABEL_BLACK = (20, 20, 24)
STRIP_PIXELS = 1 << 20  # drawn at a time, so that memory is that of the picture
LONGEST_SIDE = 2048  # of an enlarged image, and of the plane that labels are placed on


@lru_cache(maxsize=32)
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


def near_border(
    plane: np.ndarray, width: int, rows: slice = slice(None), *, frame: bool = False
) -> np.ndarray:
    """Which pixels of some rows lie at most ``width`` pixels from another segment, (R, W) bool.

    ``plane`` (H, W) uint16 numbers the segments. With ``frame`` the outside of the image counts as
    another segment.
    """
    start, stop, _ = rows.indices(len(plane))
    above = min(start, width)
    seen = plane[start - above : stop + width]
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    outside = 65535.0 if frame else 0.0
    largest = cv2.dilate(seen, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=outside)
    return (largest != cv2.erode(seen, kernel))[above : above + stop - start]


@dataclass(kw_only=True)
class PanopticDrawer:
    """Draws a segment map over its image.

    ``alpha`` is the opacity of the overlay. Small images are enlarged by a whole factor until their
    shorter side has at least ``min_side`` pixels, so that labels are legible; large images and
    those of an extreme shape keep their size. Void is gray with dark diagonal stripes. Crowds keep
    their color and have light stripes.
    """

    classes: Sequence[str]
    num_things_classes: int
    palette: Sequence[Color] | None = None
    alpha: float = 0.62
    min_side: int = 384
    labels: bool = True

    def __post_init__(self) -> None:
        check_num_classes(len(self.classes), 'PanopticDrawer')
        if not 0 <= self.alpha <= 1:
            raise UserError(
                f'alpha is {self.alpha}: give the opacity of the overlay as a number from 0 to 1.'
            )
        if not 0 <= self.num_things_classes <= len(self.classes):
            raise UserError(
                f'num_things_classes is {self.num_things_classes}, but there are '
                f'{len(self.classes)} classes: give the number of those that are things.'
            )

    def colors(self, segment_map: np.ndarray) -> dict[int, Color]:
        """The color of each segment, see ``segment_colors``."""
        return segment_colors(
            segment_map,
            num_classes=len(self.classes),
            num_things_classes=self.num_things_classes,
            palette=self.palette,
        )

    def draw(
        self,
        image: np.ndarray,
        segment_map: np.ndarray,
        *,
        colors: Mapping[int, Color] | None = None,
        wrong: Collection[int] = (),
        crowds: Collection[int] = (),
    ) -> np.ndarray:
        """Draw ``segment_map`` (H, W) over ``image`` (H, W, 3), RGB uint8; the result is RGB too.

        The map holds the values of ``coco_format.map_value`` and the number of classes on void.
        ``colors`` replaces the drawer's own, by segment. Segments in ``wrong`` get a red border and
        a red label, those in ``crowds`` light stripes.

        Raises:
            UserError: the two sizes differ, or the map has a negative id, an unknown class or more
                than 65,536 segments.
        """
        segment_map = np.asarray(segment_map)
        values, lengths = runs(segment_map)
        ids, places = ranked(values)
        self._check(image, segment_map, ids)
        colors = self.colors(ids) if colors is None else colors
        # The place of each pixel's segment in ids.
        plane = np.repeat(places.astype(np.uint16), lengths).reshape(segment_map.shape)
        scale = min(-(-self.min_side // min(plane.shape)), LONGEST_SIDE // max(plane.shape))
        if scale > 1:
            image, plane = (array.repeat(scale, 0).repeat(scale, 1) for array in (image, plane))
        table = np.array([colors.get(i, VOID_GRAY) for i in ids.tolist()], dtype=np.uint8)
        colored, is_crowd, is_wrong = (np.isin(ids, list(x)) for x in (colors, crowds, wrong))

        side = min(plane.shape)
        step = max(8, side // 32)
        stripe = np.arange(sum(plane.shape) - 1) % step < step // 4
        striped = sliding_window_view(stripe, plane.shape[1])  # by row + column
        canvas = np.empty((*plane.shape, 3), np.uint8)
        num_rows = max(1, STRIP_PIXELS // plane.shape[1])
        for start in range(0, len(plane), num_rows):
            rows = slice(start, start + num_rows)
            strip, segment = canvas[rows], plane[rows]
            # The image under the overlay is nearly gray: its shapes stay visible, and its colors do
            # not mix with those of the segments.
            gray = cv2.cvtColor(cv2.cvtColor(image[rows], cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            base = cv2.addWeighted(image[rows], 0.2, gray, 0.8, 0)
            overlay = np.take(table, segment, axis=0)
            strip[:] = cv2.addWeighted(base, 1 - self.alpha, overlay, self.alpha, 0)
            strip[striped[rows] & ~colored[segment]] = 70
            if is_crowd.any():
                strip[striped[rows] & is_crowd[segment]] = 235
            strip[near_border(plane, 1, rows) & colored[segment]] = 250
            if is_wrong.any():
                border = near_border(plane, max(2, side // 110), rows, frame=True)
                strip[border & is_wrong[segment]] = WRONG_RED
        if self.labels:
            # Specks get no label: it would hide more than it tells.
            areas = np.bincount(places, weights=lengths) * max(1, scale) ** 2
            named = np.flatnonzero(colored & (areas > (0.035 * side) ** 2))
            # Small segments come first, because they have the least choice of places.
            named = named[np.argsort(areas[named], kind='stable')].tolist()
            names = {k: self.classes[label_of(ids[k])] for k in named}
            _write_labels(canvas, plane, names, is_wrong)
        return canvas

    def _check(self, image: np.ndarray, segment_map: np.ndarray, ids: np.ndarray) -> None:
        if image.shape != (*segment_map.shape, 3) or image.dtype != np.uint8:
            raise UserError(
                f'The image is {image.dtype} {image.shape} and its segment map '
                f'{segment_map.shape}: draw over RGB of type uint8, (H, W, 3), at the size of the '
                'map.'
            )
        if not len(ids) or ids[0] < 0:
            raise UserError(
                'The segment map is empty or has negative ids: void is the number of classes, '
                'not -1.'
            )
        if len(ids) > 1 << 16:
            raise UserError(
                f'The segment map has {len(ids)} segments, of which {1 << 16} can be drawn: leave '
                'out the small ones, by thing_area and stuff_area of the merge.'
            )
        largest = int(label_of(ids).max())
        if largest > len(self.classes):
            raise UserError(
                f'The segment map has class {largest}, but the drawer knows {len(self.classes)} '
                'classes: give it those of the data set.'
            )


def _write_labels(
    canvas: np.ndarray, plane: np.ndarray, names: Mapping[int, str], is_wrong: np.ndarray
) -> None:
    """Write the name of each segment of ``plane`` into it, at its widest place that is free."""
    font = label_font(max(11, min(plane.shape) // 21))
    measure = ImageDraw.Draw(Image.new('RGB', (1, 1)))
    stride = -(-max(plane.shape) // LONGEST_SIDE)
    coarse = plane[::stride, ::stride]
    taken: list[tuple[int, int, int, int]] = []
    for segment, name in names.items():
        mask = (coarse == segment).astype(np.uint8)
        if not mask.any():  # thinner than a step of the coarse plane
            continue
        x, y = interior_point(mask)
        left, top, right, bottom = measure.textbbox((0, 0), name, font=font)
        size = int(right - left) + 8, int(bottom - top) + 7
        box = _free_box(taken, plane.shape, (stride * x, stride * y), size)
        if box is not None:
            taken.append(box)
            _write(canvas, box, name, font, WRONG_RED if is_wrong[segment] else LABEL_BLACK)


def _write(
    canvas: np.ndarray,
    box: tuple[int, int, int, int],
    name: str,
    font: ImageFont.FreeTypeFont,
    fill: Color,
) -> None:
    """Write a name on a box (left, top, right, bottom) of ``canvas``, whose other parts stay."""
    margin = box[3] - box[1]  # letters may reach beyond the box
    x, y = (max(0, corner - margin) for corner in box[:2])
    part = canvas[y : box[3] + margin, x : box[2] + margin]
    page = Image.fromarray(part)
    draw = ImageDraw.Draw(page)
    left, top, right, bottom = np.subtract(box, (x, y, x, y)).tolist()
    draw.rounded_rectangle((left, top, right, bottom), radius=4, fill=fill)
    middle = (left + right) / 2, (top + bottom) / 2
    draw.text(middle, name, font=font, fill='white', anchor='mm')
    part[:] = np.asarray(page)


def _free_box(
    taken: Sequence[tuple[int, int, int, int]],
    shape: tuple[int, int],
    center: tuple[int, int],
    size: tuple[int, int],
) -> tuple[int, int, int, int] | None:
    """The box (left, top, right, bottom) nearest to ``center`` that no box in ``taken`` overlaps.

    Boxes of ``size`` (width, height) are tried at the center, then below and above it, always
    within a picture of ``shape`` (height, width); the result is None where none is free.
    """
    width, height = size
    limit = np.maximum(np.subtract(shape[::-1], size) - 1, 1)
    for shift in (0, 1, -1, 2, -2):
        corner = center[0] - width / 2, center[1] - height / 2 + shift * (height + 2)
        left, top = np.clip(corner, 1, limit).astype(int).tolist()
        right, bottom = left + width, top + height
        if all(right <= a or c <= left or bottom <= b or d <= top for a, b, c, d in taken):
            return left, top, right, bottom
    return None
