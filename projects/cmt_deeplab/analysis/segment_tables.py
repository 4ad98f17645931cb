"""PQ by the size of segments, reliability of the scores, and confusion of the classes.

All are sums over the rows that ``segment_rows`` makes. This module imports neither torch nor mmdet.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cmt_deeplab.evaluation.pq import ImageCounts, aggregate

from .lost_pq import CAUSES
from .segment_rows import FN, FP, NO_CLASS, TP

COCO_EDGES = 32**2, 96**2  # the largest small and the largest medium object of COCO, in pixels
QUARTERS = 0.25, 0.5, 0.75


def quantile_edges(segments: np.ndarray, shares: Sequence[float] = QUARTERS) -> tuple[int, ...]:
    """The areas below which these shares of the true segments lie; equal ones stand once."""
    areas = segments['area'][segments['kind'] != FP]
    return (
        tuple(sorted({*np.quantile(areas, shares, method='lower').tolist()})) if len(areas) else ()
    )


def counts_of(segments: np.ndarray) -> ImageCounts:
    """The counts of PQ of some rows."""
    counts = {}
    for category in np.unique(segments['category']).tolist():
        rows = segments[segments['category'] == category]
        kinds = np.bincount(rows['kind'], minlength=3)
        counts[category] = [rows['iou'].sum(), *(int(kinds[kind]) for kind in (TP, FP, FN))]
    return counts


def by_size(
    segments: np.ndarray, categories: Mapping[int, bool], edges: Sequence[float] = COCO_EDGES
) -> list[dict]:
    """The figures of ``pq.aggregate`` for the segments of each range of areas.

    A range ends with its edge, which belongs to it (``at_most`` pixels; None in the last one), and
    ``name`` says it in words. True segments, found or not, are sorted by their own area and false
    positives by theirs. ``segments`` of a range is the number of its true segments.
    """
    ranges, rows = np.searchsorted(edges, segments['area']), []
    for k, (low, edge) in enumerate(zip((0, *edges), (*edges, None))):
        chosen = segments[ranges == k]
        name = f'{low + 1:,} to {edge:,}' if edge else f'over {low:,}'
        number = int(np.count_nonzero(chosen['kind'] != FP))
        figures = aggregate([counts_of(chosen)], categories)
        rows.append(dict(name=name, at_most=edge, segments=number, **figures))
    return rows


def calibration(segments: np.ndarray, num_bins: int = 10) -> dict | None:
    """How often predictions of a score match a true segment; None where no score is known.

    ``ece`` is the expected calibration error (Guo et al., On Calibration of Modern Neural Networks,
    ICML 2017): the mean difference of score and share of matches over ``num_bins`` equal ranges of
    the score, weighted by the number of predictions. Each of ``bins`` has its range from ``low`` to
    ``high``, the number ``n``, the mean ``score`` and the share ``matched``. Predictions that PQ
    excuses (on void or a crowd) take no part.
    """
    rows = segments[~np.isnan(segments['score'])]
    if not len(rows):
        return None
    place = np.minimum((rows['score'] * num_bins).astype(int), num_bins - 1)
    number, score, matched = (
        np.bincount(place, weights, num_bins)
        for weights in (np.ones(len(rows)), rows['score'], rows['kind'] == TP)
    )
    mean_score, share = score / np.maximum(number, 1), matched / np.maximum(number, 1)
    bins = [
        dict(low=k / num_bins, high=(k + 1) / num_bins, n=int(n), score=s, matched=m)
        for k, (n, s, m) in enumerate(zip(number, mean_score.tolist(), share.tolist()))
    ]
    return dict(ece=float(np.abs(score - matched).sum() / len(rows)), n=len(rows), bins=bins)


def _matrix(
    true: np.ndarray, guessed: np.ndarray, number: np.ndarray | int, categories: Sequence[int]
) -> np.ndarray:
    place = {category: k for k, category in enumerate((*categories, NO_CLASS))}
    matrix = np.zeros((len(place), len(place)), np.int64)
    rows, columns = ([place[c] for c in side.tolist()] for side in (true, guessed))
    np.add.at(matrix, (np.array(rows, int), np.array(columns, int)), number)
    return matrix


def pixel_confusion(pairs: np.ndarray, categories: Sequence[int]) -> np.ndarray:
    """Pixels by true (row) and predicted category; the last of each is void.

    ``pairs`` are those of :func:`.segment_rows.class_pairs` of all images.
    """
    return _matrix(*pairs.T, categories)


def segment_confusion(segments: np.ndarray, categories: Sequence[int]) -> np.ndarray:
    """Segments by true (row) and predicted category.

    Two segments are a pair where IoU > 0.5, whatever their classes. The last row has the
    predictions without a partner, and the last column the true segments without one.
    """
    wrong_class = segments['cause'] == CAUSES.index('wrong class')
    counted = segments[(segments['kind'] != FP) | ~wrong_class]  # its true segment stands for both
    kind, category = counted['kind'], counted['category']
    true = np.where(kind == FP, NO_CLASS, category)
    return _matrix(true, np.where(kind == FN, counted['other'], category), 1, categories)


def most_confused(matrix: np.ndarray, names: Sequence[str], most: int = 10) -> list[dict]:
    """The largest numbers beside the diagonal; void and what has no partner are left out."""
    wrong = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)[:-1, :-1]
    order = np.argsort(-wrong, axis=None, kind='stable')[:most]
    return [
        dict(true=names[true], predicted=names[guess], number=int(wrong[true, guess]))
        for true, guess in zip(*np.unravel_index(order, wrong.shape))
        if wrong[true, guess]
    ]
