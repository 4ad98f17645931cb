"""Panoptic overlays, drawn with one look-up table per image in place of one mask per segment."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cmt_deeplab.coco_format import check_num_classes, label_of
from cmt_deeplab.errors import UserError
from cmt_deeplab.planes import ranked, runs

from .labels import Label, write_labels
from .palette import Color, segment_colors

VOID_GRAY = (128, 128, 128)
WRONG_RED = (225, 29, 47)
LABEL_BLACK = (20, 20, 24)
STRIP_PIXELS = 1 << 20  # drawn at a time, so that memory is that of the picture
MIN_SIDE = 384
LONGEST_ENLARGED = 2048
SMALLEST_OUTLINED = 80  # pixels of the picture; the border would cover smaller segments
LABELS_OF_A_CLASS = 12  # at most, on its largest segments


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


def at_size(
    array: np.ndarray,
    min_side: int = MIN_SIDE,
    max_side: int | None = None,
    interpolation: int = cv2.INTER_NEAREST,
) -> np.ndarray:
    """An image, or a plane of small integers, enlarged or reduced as by ``PanopticDrawer``."""
    longest = max(array.shape[:2])
    if max_side and longest > max_side:
        height, width = (max(1, round(side * max_side / longest)) for side in array.shape[:2])
        return cv2.resize(array, (width, height), interpolation=interpolation)
    scale = min(-(-min_side // min(array.shape[:2])), LONGEST_ENLARGED // longest)
    return array if scale < 2 else array.repeat(scale, 0).repeat(scale, 1)


@dataclass(kw_only=True)
class PanopticDrawer:
    """Draws a segment map over its image.

    ``alpha`` is the opacity of the overlay. Small images are enlarged by a whole factor until their
    shorter side has at least ``min_side`` pixels, so that labels are legible; those of an extreme
    shape keep their size. Large images are reduced until no side has more than ``max_side`` pixels,
    or keep their size without it. Void is gray with dark diagonal stripes. Crowds keep their color
    and have light stripes.
    """

    classes: Sequence[str]
    num_things_classes: int
    palette: Sequence[Color] | None = None
    alpha: float = 0.62
    min_side: int = MIN_SIDE
    max_side: int | None = None
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

    def at_size(self, array: np.ndarray, interpolation: int = cv2.INTER_NEAREST) -> np.ndarray:
        """An image, or a plane of small integers, at the size of its picture."""
        return at_size(array, self.min_side, self.max_side, interpolation)

    def draw(
        self,
        image: np.ndarray,
        segment_map: np.ndarray,
        *,
        colors: Mapping[int, Color] | None = None,
        wrong: Collection[int] = (),
        crowds: Collection[int] = (),
        scores: Mapping[int, float] | None = None,
    ) -> np.ndarray:
        """Draw ``segment_map`` (H, W) over ``image`` (H, W, 3), RGB uint8; the result is RGB too.

        The map holds the values of ``coco_format.map_value`` and the number of classes on void.
        ``colors`` replaces the drawer's own, by segment. Segments in ``wrong`` get a red border and
        a red label, those in ``crowds`` light stripes. ``scores``, from 0 to 1, are written into
        the labels of their segments in percent.

        Raises:
            UserError: the two sizes differ, or the map has a negative id, an unknown class or more
                than 65,536 segments.
        """
        segment_map = np.asarray(segment_map)
        values, lengths = runs(segment_map)
        ids, places = ranked(values)
        self._check(image, segment_map, ids)
        colors = self.colors(segment_map) if colors is None else colors
        # The place of each pixel's segment in ids.
        plane = np.repeat(places.astype(np.uint16), lengths).reshape(segment_map.shape)
        image, plane = self.at_size(image, cv2.INTER_AREA), self.at_size(plane)
        table = np.array([colors.get(i, VOID_GRAY) for i in ids.tolist()], dtype=np.uint8)
        colored, is_crowd, is_wrong = (np.isin(ids, list(x)) for x in (colors, crowds, wrong))

        areas = np.bincount(places, weights=lengths) * (plane.size / segment_map.size)
        outlined = colored & (areas >= SMALLEST_OUTLINED)
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
            strip[near_border(plane, max(1, side // 800), rows) & outlined[segment]] = 250
            if is_wrong.any():
                border = near_border(plane, max(2, side // 160), rows, frame=True)
                strip[border & is_wrong[segment]] = WRONG_RED
        if self.labels:
            rows = np.argsort(-areas * colored, kind='stable')[: colored.sum()]
            write_labels(canvas, plane, self._labels(rows, ids, areas, is_wrong, scores or {}))
        return canvas

    def _labels(
        self,
        rows: np.ndarray,
        ids: np.ndarray,
        areas: np.ndarray,
        is_wrong: np.ndarray,
        scores: Mapping[int, float],
    ) -> list[Label]:
        """Labels of the segments in ``rows`` of the arrays, which begin with the largest.

        Labels that are much larger than their segments would bury those of an image with hundreds.
        So the largest segment of a class alone may have such a one.
        """
        labels, seen = [], Counter()
        for k in rows.tolist():
            text = self.classes[label_of(ids[k])]
            seen[text] += 1
            if seen[text] <= LABELS_OF_A_CLASS:
                largest = areas[k] * (6 if seen[text] == 1 else 2)
                if ids[k] in scores:
                    text += f' {100 * scores[ids[k]]:.0f}%'
                fill = WRONG_RED if is_wrong[k] else LABEL_BLACK
                labels.append(Label(k, text, fill, areas[k], largest))
        return labels

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
