"""Panoptic overlays: one look-up table an image instead of one mask a segment."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cmt_deeplab.errors import UserError

from .palette import Color, present_ids, segment_colors

VOID_GRAY = (128, 128, 128)
WRONG_RED = (225, 29, 47)
_Box = tuple[int, int, int, int]  # left, top, right, bottom


@lru_cache(maxsize=32)
def label_font(size: int) -> ImageFont.FreeTypeFont:
    """The bold sans-serif font that matplotlib carries; it has the letters of most languages."""
    import matplotlib

    return ImageFont.truetype(
        os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans-Bold.ttf'), size
    )


def upscale(image: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel of an image ``(H, W, 3)`` or a map ``(H, W)`` becomes ``scale x scale`` pixels."""
    return image if scale == 1 else np.ascontiguousarray(image.repeat(scale, 0).repeat(scale, 1))


def interior_point(mask: np.ndarray) -> tuple[float, float, float]:
    """x and y of the pixel farthest from the mask's edge, and that distance in pixels. ``mask (H, W)`` uint8 is not empty."""
    left, top, width, height = cv2.boundingRect(mask)
    window = cv2.copyMakeBorder(
        mask[top : top + height, left : left + width], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0
    )
    _, distance, _, where = cv2.minMaxLoc(cv2.distanceTransform(window, cv2.DIST_L2, 3))
    return left + where[0] - 1, top + where[1] - 1, distance


def segment_boundaries(segment_map: np.ndarray) -> np.ndarray:
    """``(H, W)`` bool, true on both sides of every border between two segments."""
    edge = np.zeros(segment_map.shape, dtype=bool)
    vertical, horizontal = (
        segment_map[1:] != segment_map[:-1],
        segment_map[:, 1:] != segment_map[:, :-1],
    )
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    return edge


class PanopticDrawer:
    """Draws a segment map over its image.

    Small images are enlarged by a whole factor until their shorter side has ``min_side`` pixels, so that labels stay legible; large ones
    keep their size. Void is gray with dark diagonal stripes; segments in ``crowds`` keep their color under light stripes.
    """

    def __init__(
        self,
        *,
        classes: Sequence[str],
        num_things_classes: int,
        palette: Sequence[Color] | None = None,
        alpha: float = 0.62,
        min_side: int = 384,
        labels: bool = True,
    ) -> None:
        if not 0 <= alpha <= 1:
            raise UserError(
                f'alpha is {alpha}: give the opacity of the overlay as a number between 0 and 1.'
            )
        if not 0 <= num_things_classes <= len(classes):
            raise UserError(
                f'num_things_classes is {num_things_classes}, but there are {len(classes)} classes.'
            )
        self.classes = tuple(classes)
        self.num_things_classes = num_things_classes
        self.palette = palette
        self.alpha = alpha
        self.min_side = min_side
        self.labels = labels

    def scale_of(self, shape: Sequence[int]) -> int:
        """The whole factor by which an image of ``(H, W, ...)`` is enlarged."""
        return max(1, -(-self.min_side // min(shape[0], shape[1])))

    def colors(self, segment_map: np.ndarray) -> dict[int, Color]:
        """The color of each segment, see ``segment_colors``."""
        return segment_colors(
            segment_map,
            num_classes=len(self.classes),
            num_things_classes=self.num_things_classes,
            palette=self.palette,
        )

    def draw_image(self, image: np.ndarray) -> np.ndarray:
        """The picture alone, at the size of the overlays."""
        return upscale(image, self.scale_of(image.shape))

    def draw(
        self,
        image: np.ndarray,
        segment_map: np.ndarray,
        *,
        colors: Mapping[int, Color] | None = None,
        wrong: Iterable[int] = (),
        crowds: Iterable[int] = (),
    ) -> np.ndarray:
        """RGB picture of ``segment_map (H, W)`` (``label + 1000 * instance``, void = number of classes) over ``image (H, W, 3)`` uint8 RGB.

        Segments in ``wrong`` get a red border and a red label. Raises ``ValueError`` when the two sizes differ or a class is unknown.
        """
        segment_map = np.asarray(segment_map).astype(np.int64, copy=False)
        if image.shape[:2] != segment_map.shape:
            raise UserError(
                f'The image is {image.shape[:2]} and its segment map {segment_map.shape}: draw the result at the size of the '
                'image.'
            )
        if segment_map.size == 0 or segment_map.min() < 0:
            raise UserError(
                'The segment map is empty or has negative ids: void is the number of classes, not -1.'
            )
        ids = present_ids(segment_map)
        unknown = [int(i) for i in ids if i % 1000 > len(self.classes)]
        if unknown:
            raise UserError(
                f'Segment {unknown[0]} has class {unknown[0] % 1000}, but the drawer knows {len(self.classes)} classes.'
            )
        colors = self.colors(segment_map) if colors is None else dict(colors)
        table = np.empty((int(ids[-1]) + 1, 3), dtype=np.uint8)
        table[:] = VOID_GRAY
        for segment, color in colors.items():
            if segment < len(table):
                table[segment] = color
        scale = self.scale_of(image.shape)
        # Under the overlay the image is nearly gray: its form stays visible and its colors do not mix with those of the segments.
        gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        base = cv2.addWeighted(image, 0.2, gray, 0.8, 0)
        canvas = upscale(
            cv2.addWeighted(base, 1 - self.alpha, table[segment_map], self.alpha, 0), scale
        )
        large = upscale(segment_map, scale)
        known = np.zeros(len(table), dtype=bool)
        known[[i for i in colors if i < len(table)]] = True
        self._hatch(canvas, large, known, crowds)
        self._outline(canvas, large, known, wrong)
        return self._label(canvas, large, colors, frozenset(wrong)) if self.labels else canvas

    @staticmethod
    def _hatch(
        canvas: np.ndarray, large: np.ndarray, known: np.ndarray, crowds: Iterable[int]
    ) -> None:
        step = max(8, min(canvas.shape[:2]) // 32)
        rows, columns = np.ogrid[: canvas.shape[0], : canvas.shape[1]]
        stripe = (rows + columns) % step < max(1, step // 4)
        canvas[stripe & ~known[large]] = (70, 70, 70)
        for segment in crowds:
            canvas[stripe & (large == segment)] = (235, 235, 235)

    @staticmethod
    def _outline(
        canvas: np.ndarray, large: np.ndarray, known: np.ndarray, wrong: Iterable[int]
    ) -> None:
        canvas[segment_boundaries(large) & known[large]] = (250, 250, 250)
        thick = max(2, min(canvas.shape[:2]) // 110)
        for segment in wrong:
            mask = (large == segment).astype(np.uint8)
            inner = cv2.erode(
                mask,
                np.ones((2 * thick + 1, 2 * thick + 1), np.uint8),
                borderType=cv2.BORDER_CONSTANT,
                borderValue=0,
            )
            canvas[(mask - inner).astype(bool)] = WRONG_RED

    def _label(
        self, canvas: np.ndarray, large: np.ndarray, colors: Mapping[int, Color], wrong: frozenset
    ) -> np.ndarray:
        side = min(canvas.shape[:2])
        font = label_font(max(11, side // 21))
        page = Image.fromarray(canvas)
        draw = ImageDraw.Draw(page)
        placed: list[_Box] = []
        areas = np.bincount(large.ravel())
        # Small segments first: they have the least choice of places. Specks get no label: it would hide more than it tells.
        for segment in sorted(
            (s for s in colors if s < len(areas) and areas[s] > (0.035 * side) ** 2),
            key=lambda s: areas[s],
        ):
            x, y, _ = interior_point((large == segment).astype(np.uint8))
            box = self._place(
                draw.textbbox((0, 0), self.classes[segment % 1000], font=font),
                (x, y),
                placed,
                page.size,
            )
            if box is None:
                continue
            placed.append(box)
            fill = WRONG_RED if segment in wrong else (20, 20, 24)
            draw.rounded_rectangle(box, radius=4, fill=fill)
            draw.text(
                ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
                self.classes[segment % 1000],
                font=font,
                fill='white',
                anchor='mm',
            )
        return np.array(page)

    @staticmethod
    def _place(
        text: _Box, center: tuple[float, float], placed: Sequence[_Box], page: tuple[int, int]
    ) -> _Box | None:
        """The free box nearest to ``center`` within the page, tried at the center, then below and above; none when all are taken."""
        width, height = int(text[2] - text[0]) + 8, int(text[3] - text[1]) + 7
        for shift in (0, 1, -1, 2, -2):
            left = int(min(max(center[0] - width / 2, 1), max(1, page[0] - width - 1)))
            top = int(
                min(
                    max(center[1] - height / 2 + shift * (height + 2), 1),
                    max(1, page[1] - height - 1),
                )
            )
            box = (left, top, left + width, top + height)
            if all(
                box[2] <= o[0] or o[2] <= box[0] or box[3] <= o[1] or o[3] <= box[1] for o in placed
            ):
                return box
        return None
