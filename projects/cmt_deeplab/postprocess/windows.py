"""The segments of overlapping windows of a large image, joined into one picture of the image."""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np
import torch
from scipy.cluster.hierarchy import DisjointSet

from cmt_deeplab.coco_format import label_of, map_value
from cmt_deeplab.geometry import Size

from .merge_base import PanopticResult

VOID, UNSEEN = 0, -1  # on the canvas, beside the numbers of segments from 1 on
COVERED = 0.5  # of a cut thing, above which the whole thing that covers it counts alone
LEFT = 0.5  # of a thing, below which the rest that others have left of it becomes void
GIVES_WAY, USUAL, WHOLE = range(3)  # what counts more where two windows differ at a pixel


@dataclass(frozen=True)
class Window:
    """Rows and columns of an image, as (start, stop).

    The ``core`` is the part where no other window sees farther; the cores of all windows make the
    image.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    core: tuple[tuple[int, int], tuple[int, int]]

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(*self.rows), slice(*self.columns)


def windows_of(image: Size, size: Size, overlap: float) -> list[Window]:
    """Windows of ``size`` that cover the image, from the top left to the bottom right.

    They are evenly spaced, and neighbors share at least ``overlap`` of a side. A side that is not
    larger than the window has one. All sizes are (height, width).
    """
    axes = []
    for side, window in zip(image, size):
        step = max(int(window * (1 - overlap)), 1)
        number = 1 + ceil(max(side - window, 0) / step)
        starts = np.linspace(0, max(side - window, 0), number).round().astype(int).tolist()
        spans = [(start, min(start + window, side)) for start in starts]
        middles = [(before[1] + after[0]) // 2 for before, after in zip(spans, spans[1:])]
        axes.append([*zip(spans, zip([0, *middles], [*middles, side]))])
    return [Window(rows, columns, (y, x)) for (rows, y), (columns, x) in product(*axes)]


class JoinedWindows:
    """Takes the windows of an image one by one and keeps a map of the image alone.

    All stuff of a class is one segment. Two things of one class are the same if the intersection
    over union of what both windows see of them exceeds ``least_iou``. A thing is *cut* where it
    touches a border of its window inside of the image, and *whole* otherwise or if it is joined to
    a whole one. Where windows differ at a pixel, a whole thing counts more than anything else, and
    a cut one nothing if a whole one of the other window covers most of it; otherwise the window
    counts that sees farther there. What is left of a thing of which most has been lost becomes
    void. The score of a segment is the mean over its windows, weighted by area.
    """

    def __init__(
        self, size: Size, *, num_things_classes: int, num_classes: int, least_iou: float
    ) -> None:
        self.num_things_classes, self.num_classes = num_things_classes, num_classes
        self.least_iou = least_iou
        self.canvas = np.full(size, UNSEEN, np.int32)
        self.windows: list[Window] = []
        self.same = DisjointSet([VOID])
        self.category, self.score, self.area = [num_classes], [0.0], [0]  # by number
        self.whole = [False]  # by the number that stands for joined ones
        self.shared = {num_classes: VOID}  # class: number, of stuff and void

    def add(self, window: Window, result: PanopticResult) -> None:
        """Join what the model has found in a window."""
        values, place = np.unique(result.segment_map.cpu().numpy(), return_inverse=True)
        place = place.reshape(result.segment_map.shape)
        (top, bottom), (left, right) = window.rows, window.columns
        height, width = self.canvas.shape
        inner = (top > 0, place[0]), (bottom < height, place[-1])
        inner += (left > 0, place[:, 0]), (right < width, place[:, -1])
        cut = {each for is_inner, border in inner if is_inner for each in border.tolist()}
        scores = {info['id']: info['score'] for info in result.segments_info}
        areas = np.bincount(place.ravel()).tolist()
        numbers = [
            self._number(value, scores.get(value, 0.0), area, whole=position not in cut)
            for position, (value, area) in enumerate(zip(values.tolist(), areas))
        ]
        new, old = np.array(numbers, np.int32)[place], self.canvas[window.slices]
        for other in self.windows:
            rows, columns = (
                slice(max(mine[0], its[0]) - mine[0], max(min(mine[1], its[1]) - mine[0], 0))
                for mine, its in ((window.rows, other.rows), (window.columns, other.columns))
            )
            if rows.start < rows.stop and columns.start < columns.stop:
                self._join(old[rows, columns], new[rows, columns])
        self._paint(window, old, new)
        self.windows.append(window)

    def result(self, output_size: Size) -> PanopticResult:
        """The picture of the image, at ``output_size`` (height, width). It is asked for once."""
        canvas, enlarged = self.canvas, np.prod(output_size) / self.canvas.size
        if tuple(output_size) != canvas.shape:
            rows, columns = (
                ((np.arange(wanted) + 0.5) * side / wanted).astype(int)
                for wanted, side in zip(output_size, canvas.shape)
            )
            canvas = canvas[np.ix_(rows, columns)]
        roots = np.array([self.same[number] for number in range(len(self.category))])
        pixels = np.zeros(len(roots), np.int64)
        for row in range(0, len(canvas), 256):  # some rows at a time, as counting takes memory
            counts = np.bincount(canvas[row : row + 256].ravel(), minlength=len(roots))
            np.add.at(pixels, roots, counts)
        most, seen, scores = np.zeros((3, len(roots)))
        np.maximum.at(most, roots, self.area)
        np.add.at(seen, roots, self.area)
        np.add.at(scores, roots, self.score)
        scores /= np.maximum(seen, 1)
        value_of, infos, things = np.full(len(roots), self.num_classes, np.int32), [], 0
        for root in np.argsort(-scores, kind='stable').tolist():
            category, area = self.category[root], int(pixels[root])
            thing = self._is_thing(root)
            if root == VOID or area == 0 or (thing and area < LEFT * most[root] * enlarged):
                continue
            things += thing
            value_of[root] = value = map_value(category, things * thing)
            score = float(scores[root])
            infos.append(
                dict(id=value, category_id=category, isthing=thing, score=score, area=area)
            )
        np.take(value_of[roots], canvas, out=canvas, mode='clip')  # in place
        return PanopticResult(torch.from_numpy(canvas), infos)

    def _is_thing(self, number: int) -> bool:
        return self.category[number] < self.num_things_classes

    def _number(self, value: int, score: float, area: int, *, whole: bool) -> int:
        """The number of a segment of a window; that of its class for stuff."""
        category = label_of(value)
        number = self.shared.get(category, len(self.category))
        if number == len(self.category):
            self.same.add(number)
            self.category.append(category)
            self.score.append(0.0)
            self.area.append(0)
            thing = self._is_thing(number)
            self.whole.append(whole and thing)
            if not thing:
                self.shared[category] = number
        self.score[number] += score * area
        self.area[number] += area
        return number

    def _pairs(self, old: np.ndarray, new: np.ndarray) -> tuple[Counter, Counter, Counter]:
        """Pixels of the pairs of segments at the same pixels, and of each segment there.

        Segments are named by the number that stands for all that are joined to them.
        """
        pairs, of_old, of_new = Counter(), Counter(), Counter()
        keys, counts = np.unique(old.astype(np.int64) << 32 | new, return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist()):
            a, b = self.same[key >> 32], self.same[key & 0xFFFFFFFF]
            pairs[a, b] += count
            of_old[a] += count
            of_new[b] += count
        return pairs, of_old, of_new

    def _join(self, old: np.ndarray, new: np.ndarray) -> None:
        """Join the things that agree where this window and an earlier one overlap."""
        pairs, of_old, of_new = self._pairs(old, new)
        for (a, b), shared in pairs.items():
            if shared > self.least_iou * (of_old[a] + of_new[b] - shared):
                self._unite(a, b)

    def _unite(self, a: int, b: int) -> None:
        if self.category[a] == self.category[b] and self._is_thing(a):
            whole = self.whole[self.same[a]] or self.whole[self.same[b]]
            self.same.merge(a, b)
            self.whole[self.same[a]] = whole

    def _paint(self, window: Window, old: np.ndarray, new: np.ndarray) -> None:
        """Write ``new`` over ``old``, a part of the canvas, where it counts more."""
        seen = old != UNSEEN
        pairs, of_old, of_new = self._pairs(old[seen], new[seen])
        rank = {number: WHOLE if self.whole[number] else USUAL for number in of_old | of_new}
        covered = []
        for (a, b), shared in pairs.items():
            for cut, whole, size in ((a, b, of_old[a]), (b, a, of_new[b])):
                if self._is_thing(cut) and rank[cut] < WHOLE == rank[whole]:
                    if shared > COVERED * size:
                        covered.append((cut, whole))
        rank |= {cut: GIVES_WAY for cut, _ in covered}
        ranks = np.full(len(self.category), USUAL, np.int8)
        for number in {*np.unique(old[seen]).tolist(), *np.unique(new[seen]).tolist()}:
            ranks[number] = rank[self.same[number]]
        core = np.zeros(old.shape, bool)
        rows, columns = (
            slice(inside[0] - span[0], inside[1] - span[0])
            for inside, span in zip(window.core, (window.rows, window.columns))
        )
        core[rows, columns] = True
        ahead = ranks[new] - ranks[old]  # where nothing was seen, any number will do
        take = ~seen | (ahead > 0) | (ahead == 0) & core
        old[take] = new[take]
        for cut, whole in covered:
            self._unite(cut, whole)
