"""Panoptic overlays, drawn with one look-up table per image in place of one mask per segment."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cmt_deeplab.coco_format import INSTANCE_OFFSET
from cmt_deeplab.errors import UserError
from cmt_deeplab.planes import ranked

from .palette import Color, segment_colors

VOID_GRAY = (128, 128, 128)
WRONG_RED = (225, 29, 47)
LABEL_BLACK = (20, 20, 24)


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


def near_border(plane: np.ndarray, width: int, *, frame: bool = False) -> np.ndarray:
    """Which pixels (H, W) lie at most ``width`` pixels from another segment, as bool.

    ``plane`` (H, W) uint16 numbers the segments. With ``frame`` the outside of the image counts as
    another segment.
    """
    kernel = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    outside = 65535.0 if frame else 0.0
    largest = cv2.dilate(plane, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=outside)
    return largest != cv2.erode(plane, kernel)


@dataclass(kw_only=True)
class PanopticDrawer:
    """Draws a segment map over its image.

    ``alpha`` is the opacity of the overlay. Small images are enlarged by a whole factor until their
    shorter side has at least ``min_side`` pixels, so that labels are legible; large images keep
    their size. Void is gray with dark diagonal stripes. Crowds keep their color and have light
    stripes.
    """

    classes: Sequence[str]
    num_things_classes: int
    palette: Sequence[Color] | None = None
    alpha: float = 0.62
    min_side: int = 384
    labels: bool = True

    def __post_init__(self) -> None:
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

        The map holds ``label + INSTANCE_OFFSET * instance`` and the number of classes on void.
        ``colors`` replaces the drawer's own, by segment. Segments in ``wrong`` get a red border and
        a red label, those in ``crowds`` light stripes.

        Raises:
            UserError: the two sizes differ, or the map has a negative id or an unknown class.
        """
        segment_map = np.asarray(segment_map, np.int64)
        self._check(image, segment_map)
        colors = self.colors(segment_map) if colors is None else colors
        ids, places = ranked(segment_map.ravel())
        # The place of each pixel's segment in ids.
        plane = places.reshape(segment_map.shape).astype(np.uint16)
        colored = np.isin(ids, list(colors))
        table = np.array([colors.get(i, VOID_GRAY) for i in ids.tolist()], dtype=np.uint8)
        # The image under the overlay is nearly gray: its shapes stay visible, and its colors do not
        # mix with those of the segments.
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        base = cv2.addWeighted(image, 0.2, gray, 0.8, 0)
        canvas = cv2.addWeighted(base, 1 - self.alpha, table[plane], self.alpha, 0)
        scale = max(1, -(-self.min_side // min(plane.shape)))
        canvas, plane = (array.repeat(scale, 0).repeat(scale, 1) for array in (canvas, plane))

        side = min(plane.shape)
        rows, columns = np.indices(plane.shape, sparse=True)
        step = max(8, side // 32)
        striped = (rows + columns) % step < step // 4
        canvas[striped & ~colored[plane]] = 70
        canvas[striped & np.isin(ids, list(crowds))[plane]] = 235
        canvas[near_border(plane, 1) & colored[plane]] = 250
        is_wrong = np.isin(ids, list(wrong))
        if is_wrong.any():
            border = near_border(plane, max(2, side // 110), frame=True)
            canvas[border & is_wrong[plane]] = WRONG_RED
        if self.labels:
            names = {
                k: self.classes[ids[k] % INSTANCE_OFFSET] for k in np.flatnonzero(colored).tolist()
            }
            canvas = _with_labels(canvas, plane, names, is_wrong)
        return canvas

    def _check(self, image: np.ndarray, segment_map: np.ndarray) -> None:
        if image.shape[:2] != segment_map.shape:
            raise UserError(
                f'The image is {image.shape[:2]} and its segment map {segment_map.shape}: draw the '
                'result at the size of the image.'
            )
        if segment_map.size == 0 or segment_map.min() < 0:
            raise UserError(
                'The segment map is empty or has negative ids: void is the number of classes, '
                'not -1.'
            )
        largest = int((segment_map % INSTANCE_OFFSET).max())
        if largest > len(self.classes):
            raise UserError(
                f'The segment map has class {largest}, but the drawer knows {len(self.classes)} '
                'classes: give it those of the data set.'
            )


def _with_labels(
    canvas: np.ndarray, plane: np.ndarray, names: Mapping[int, str], is_wrong: np.ndarray
) -> np.ndarray:
    """Write the name of each segment of ``plane`` into it, at its widest place that is free."""
    side = min(plane.shape)
    font = label_font(max(11, side // 21))
    page = Image.fromarray(canvas)
    draw = ImageDraw.Draw(page)
    taken = np.zeros(plane.shape, dtype=bool)
    areas = np.bincount(plane.ravel())
    # Small segments come first, because they have the least choice of places. Specks get no label:
    # it would hide more than it tells.
    for segment in sorted(names, key=areas.__getitem__):
        if areas[segment] <= (0.035 * side) ** 2:
            continue
        name = names[segment]
        left, top, right, bottom = draw.textbbox((0, 0), name, font=font)
        size = int(right - left) + 8, int(bottom - top) + 7
        box = _free_box(taken, interior_point((plane == segment).astype(np.uint8)), size)
        if box is not None:
            fill = WRONG_RED if is_wrong[segment] else LABEL_BLACK
            draw.rounded_rectangle(box, radius=4, fill=fill)
            middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            draw.text(middle, name, font=font, fill='white', anchor='mm')
    return np.array(page)


def _free_box(
    taken: np.ndarray, center: tuple[int, int], size: tuple[int, int]
) -> tuple[int, int, int, int] | None:
    """Take and return the free box (left, top, right, bottom) nearest to ``center``.

    Boxes of ``size`` (width, height) are tried at the center, then below and above it, always
    within the picture; the result is None where all are ``taken`` (H, W).
    """
    width, height = size
    limit = np.maximum(np.subtract(taken.shape[::-1], size) - 1, 1)
    for shift in (0, 1, -1, 2, -2):
        corner = center[0] - width / 2, center[1] - height / 2 + shift * (height + 2)
        left, top = np.clip(corner, 1, limit).astype(int).tolist()
        area = taken[top : top + height, left : left + width]
        if not area.any():
            area[:] = True
            return left, top, left + width, top + height
    return None
