"""One row for each segment that PQ counts, and the pixels of each pair of classes, of one image.

All tables of an evaluation are sums over these rows. This module imports neither torch nor mmdet.
"""

from collections.abc import Hashable, Iterable

import numpy as np

from cmt_deeplab.evaluation.pq import ImageCounts, SegmentMatches, framed
from cmt_deeplab.remarks import ImageScore, wrong_areas

from .lost_pq import CAUSES, KINDS, unmatched_causes

NO_CLASS = -1  # the category of void, and of no segment at all
TP, FP, FN = range(len(KINDS))
ROW = np.dtype(
    [
        ('kind', np.int8),  # an index into KINDS
        ('category', np.int64),
        ('cause', np.int8),  # an index into CAUSES
        ('iou', np.float64),  # of a true positive, otherwise 0
        ('area', np.int64),  # pixels of the true segment; of a false positive its own
        ('score', np.float64),  # of the prediction, NaN where it is not known
        ('other', np.int64),  # of a false negative: the category of a prediction with IoU > 0.5
    ]
)


def _rows(number: int, **columns: np.ndarray | float) -> np.ndarray:
    rows = np.zeros(number, ROW)
    for name, values in columns.items():
        rows[name] = values
    return rows


def segment_rows(matches: SegmentMatches) -> np.ndarray:
    """The true positives, false positives and false negatives of an image, of type ``ROW``."""
    gt, pred = matches.gt, matches.pred
    true_causes, causes = unmatched_causes(matches)
    wrong = dict(kind=FP, category=pred.categories, cause=causes, area=matches.pred_areas)
    guessed = _rows(len(pred.ids), **wrong, score=pred.scores, other=NO_CLASS)
    missed = dict(kind=FN, category=gt.categories, cause=true_causes, area=matches.gt_areas)
    true = _rows(len(gt.ids), **missed, score=np.nan, other=NO_CLASS)
    mistaken = true_causes == CAUSES.index('wrong class')
    if mistaken.any():  # more than half of such a segment lies in one prediction
        true['other'][mistaken] = pred.categories[matches.shared[mistaken].argmax(axis=1)]
    found = true[matches.gt_rows]
    found['kind'], found['cause'], found['iou'] = TP, CAUSES.index('loose'), matches.iou
    found['score'], found['other'] = guessed['score'][matches.pred_rows], NO_CLASS
    unmatched = guessed[matches.is_false_positive], true[matches.is_false_negative]
    return np.concatenate([found, *unmatched])


def class_pairs(matches: SegmentMatches) -> np.ndarray:
    """Categories of a true and a predicted segment and the pixels they share, (N, 3) int64.

    There is a row for each pair that shares any, so that a pair of categories may have several.
    Crowds have their category here. Void is ``NO_CLASS`` and is not counted where both are void.
    """
    table = framed(matches.shared)
    table[:-1, -1] = matches.gt_areas - matches.shared.sum(axis=1)  # what no prediction has
    table[-1, :-1] = matches.on_void
    true, guessed = (np.append(side.categories, NO_CLASS) for side in (matches.gt, matches.pred))
    row, column = np.nonzero(table)
    return np.stack([true[row], guessed[column], table[row, column]], axis=1)


def image_score(
    matches: SegmentMatches,
    image_id: Hashable,
    boundary_counts: ImageCounts | None = None,
    *,
    with_rows: bool = True,
) -> ImageScore:
    """All that the tables of an evaluation need of one image; PQ does without the rows."""
    sides = (matches.gt, matches.gt_areas), (matches.pred, matches.pred_areas)
    return ImageScore(
        image_id,
        matches.counts(),
        [wrong_areas(table.ids, table.areas, counted) for table, counted in sides],
        segment_rows(matches) if with_rows else np.zeros(0, ROW),
        class_pairs(matches) if with_rows else np.zeros((0, 3), np.int64),
        boundary_counts,
    )


def all_segments(images: Iterable[ImageScore]) -> np.ndarray:
    """The rows of several images, one after the other."""
    return np.concatenate([np.zeros(0, ROW), *(image.segments for image in images)])
