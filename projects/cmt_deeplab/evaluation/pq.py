"""Panoptic quality counted from two planes of segment ids: pure numpy, no files, no other part of the package.

The rules are panopticapi's (Kirillov et al., Panoptic Segmentation, CVPR 2019, section 4, and the code of the COCO panoptic challenge):

* two segments match when they have one category, the ground truth is no crowd and IoU > 0.5, where the union leaves out the pixels of the
  prediction that lie on ground-truth void;
* an unmatched prediction counts as a false positive unless more than half of it lies on void and on the crowd of its own category. Where
  an image has several crowds of one category only the last one listed counts here, as in panopticapi;
* an unmatched ground-truth segment counts as a false negative unless it is a crowd.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from cmt_deeplab.errors import UserError


@dataclass(frozen=True)
class SegmentTable:
    """The segments of one image, one entry a segment, in the order of the annotation (it decides which crowd is the last).

    ``areas`` are in pixels; ``None`` counts them in the plane. panopticapi trusts the areas written in the ground-truth JSON.
    """

    ids: np.ndarray  # (S,) int64, the values of the plane
    categories: np.ndarray  # (S,) int64
    is_crowd: np.ndarray | None = None  # (S,) bool; None: no crowd
    areas: np.ndarray | None = None  # (S,) int64


@dataclass(frozen=True)
class PQRow:
    """The counts of one image, sparse: one entry a category that occurs in its ground truth or its prediction."""

    img_id: int
    categories: np.ndarray  # (n,) int64, ascending
    iou_sum: np.ndarray  # (n,) float64, over the true positives
    tp: np.ndarray  # (n,) int64
    fp: np.ndarray  # (n,) int64
    fn: np.ndarray  # (n,) int64


def joint_histogram(
    gt_plane: np.ndarray, pred_plane: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels that each pair of ids shares: ``(gt_ids (G,), pred_ids (P,), counts (G, P) int64)``, both lists of ids ascending.

    Label planes are piecewise constant, so the planes are cut into runs where neither changes; only the ids of the runs, some thousands
    instead of some hundred thousand pixels, are ranked. Raises ValueError if the planes differ in shape.
    """
    if gt_plane.shape != pred_plane.shape:
        raise UserError(
            f'the prediction has shape {pred_plane.shape} but the ground truth has {gt_plane.shape}'
        )
    gt, pred = gt_plane.ravel(), pred_plane.ravel()
    cuts = np.flatnonzero((gt[1:] != gt[:-1]) | (pred[1:] != pred[:-1])) + 1
    starts = np.concatenate([np.zeros(min(gt.size, 1), dtype=cuts.dtype), cuts])
    lengths = np.diff(starts, append=gt.size)
    gt_ids, gt_rank = _rank(gt[starts])
    pred_ids, pred_rank = _rank(pred[starts])
    pair = gt_rank * len(pred_ids) + pred_rank
    # float64 weights hold pixel counts exactly
    counts = np.bincount(pair, weights=lengths, minlength=len(gt_ids) * len(pred_ids))
    return gt_ids, pred_ids, counts.astype(np.int64).reshape(len(gt_ids), len(pred_ids))


def _rank(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different values (G,) int64, ascending, and the place of each value among them; by a table where their range is small."""
    values = values.astype(np.int64)
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if not len(values) or high - low >= 1 << 18:
        ids, rank = np.unique(values, return_inverse=True)
        return ids, rank.reshape(-1)
    values -= low
    present = np.zeros(high - low + 1, dtype=bool)
    present[values] = True
    ids = np.flatnonzero(present)
    place = np.empty(len(present), dtype=np.int64)
    place[ids] = np.arange(len(ids))
    return ids + low, place[values]


def _positions(wanted: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Where each wanted id stands in the ascending ``ids``; ``len(ids)`` for one that is absent."""
    if not len(ids):
        return np.zeros(len(wanted), dtype=np.int64)
    position = np.searchsorted(ids, wanted)
    return np.where(ids[np.minimum(position, len(ids) - 1)] == wanted, position, len(ids))


def count_image(
    img_id: int,
    gt: SegmentTable,
    pred: SegmentTable,
    *,
    gt_void: int,
    histogram: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> PQRow:
    """True and false positives, false negatives and the IoU sum of one image by category, from :func:`joint_histogram` of its planes.

    Ids of the ground-truth plane that are neither ``gt_void`` nor listed belong to no segment but do count in the area of a prediction, as
    in panopticapi; ids of the prediction that are not listed are its void.
    """
    gt_ids, pred_ids, counts = histogram
    counts = np.pad(
        counts, ((0, 1), (0, 1))
    )  # the last row and column stand for ids that have no pixel
    rows, columns = _positions(gt.ids, gt_ids), _positions(pred.ids, pred_ids)
    pred_area = counts.sum(axis=0)[columns]  # (T,)
    gt_area = counts.sum(axis=1)[rows] if gt.areas is None else gt.areas  # (S,)
    is_crowd = (
        np.zeros(len(gt.ids), dtype=bool) if gt.is_crowd is None else gt.is_crowd.astype(bool)
    )
    on_void = counts[_positions(np.array([gt_void]), gt_ids)[0]][columns]  # (T,)
    shared = counts[rows][:, columns]  # (S, T)

    may_match = (
        (shared > 0) & (gt.categories[:, None] == pred.categories[None]) & ~is_crowd[:, None]
    )
    union = pred_area[None] + gt_area[:, None] - shared - on_void[None]
    iou = np.divide(shared, union, out=np.zeros(shared.shape), where=may_match & (union != 0))
    matched = may_match & (iou > 0.5)
    gt_matched, pred_matched = matched.any(axis=1), matched.any(axis=0)

    ignored = on_void.copy()
    last_crowd = {
        int(category): row for category, row, crowd in zip(gt.categories, rows, is_crowd) if crowd
    }
    for category, row in last_crowd.items():
        same = pred.categories == category
        ignored[same] += counts[row][columns[same]]
    is_fp = ~pred_matched & ~(ignored > 0.5 * pred_area)
    is_fn = ~gt_matched & ~is_crowd

    categories = np.union1d(gt.categories, pred.categories).astype(np.int64)
    gt_slot, pred_slot = (
        np.searchsorted(categories, gt.categories),
        np.searchsorted(categories, pred.categories),
    )
    pair_gt, pair_pred = np.nonzero(matched)
    n = len(categories)
    return PQRow(
        img_id,
        categories,
        iou_sum=np.bincount(gt_slot[pair_gt], weights=iou[pair_gt, pair_pred], minlength=n),
        tp=np.bincount(gt_slot[pair_gt], minlength=n),
        fp=np.bincount(pred_slot[is_fp], minlength=n),
        fn=np.bincount(gt_slot[is_fn], minlength=n),
    )


def aggregate(rows: Iterable[PQRow], is_thing: Mapping[int, bool]) -> dict[str, dict]:
    """Figures of a data set, with panopticapi's keys and order: ``All``, ``per_class``, ``Things``, ``Stuff``; fractions, not percent.

    ``is_thing`` lists the categories to average over; ``All``, ``Things``, ``Stuff`` are means over the ``n`` categories that occur in
    the ground truth or in a prediction that counts. Where none occurs the figures are 0 and ``n`` is 0 (panopticapi divides by zero). A
    category of the rows that is not listed takes no part.
    """
    ids = np.array(sorted(is_thing), dtype=np.int64)
    totals = np.zeros(
        (4, len(ids) + 1)
    )  # iou_sum, tp, fp, fn; the last column takes what is not listed
    for row in rows:
        totals[:, _positions(row.categories, ids)] += np.stack(
            [row.iou_sum, row.tp, row.fp, row.fn]
        )
    per_class, seen = {}, {}
    for category in is_thing:
        iou_sum, tp, fp, fn = totals[:, int(np.searchsorted(ids, category))].tolist()
        weight = tp + 0.5 * fp + 0.5 * fn
        seen[category] = weight > 0
        per_class[category] = dict(
            pq=iou_sum / weight if weight else 0.0,
            sq=iou_sum / tp if tp else 0.0,
            rq=tp / weight if weight else 0.0,
        )

    def mean(chosen: Iterable[int]) -> dict:
        chosen = [category for category in chosen if seen[category]]
        figures = {
            key: sum(per_class[c][key] for c in chosen) / max(len(chosen), 1)
            for key in ('pq', 'sq', 'rq')
        }
        return dict(figures, n=len(chosen))

    return dict(
        All=mean(is_thing),
        per_class=per_class,
        Things=mean(c for c in is_thing if is_thing[c]),
        Stuff=mean(c for c in is_thing if not is_thing[c]),
    )
