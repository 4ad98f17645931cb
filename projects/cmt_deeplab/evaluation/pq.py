"""Panoptic quality counted from two planes of segment ids, in plain numpy.

The rules are those of panopticapi (Kirillov et al., Panoptic Segmentation, CVPR 2019, section 4,
and the code of the COCO panoptic challenge):

* Two segments match when they have one category, the true one is no crowd and IoU > 0.5, where
  the union leaves out the pixels of the prediction that lie on ground-truth void.
* A prediction without a match is a false positive unless more than half of it lies on void and on
  the crowd of its own category. Where an image has several crowds of one category, only the last
  one listed counts here, as in panopticapi.
* A true segment without a match is a false negative unless it is a crowd.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from cmt_deeplab.coco_format import label_of
from cmt_deeplab.planes import positions, ranked, runs

JointHistogram = tuple[np.ndarray, np.ndarray, np.ndarray]
# The counts of one image for each category that a true or a predicted segment has: the sum of the
# IoU over the true positives, and the numbers of true positives, false positives and false
# negatives.
ImageCounts = dict[int, list[float]]


@dataclass(frozen=True)
class SegmentTable:
    """The segments of one image in the order of the annotation, which says which crowd is the last.

    ``areas`` are the pixels that a JSON states and ``scores`` those of predictions, from 0 to 1,
    NaN where they are not known.
    """

    ids: np.ndarray  # (S,) int64, the values of the plane
    categories: np.ndarray  # (S,) int64
    is_crowd: np.ndarray  # (S,) bool
    areas: np.ndarray | float = np.nan  # (S,) float64, or one for all
    scores: np.ndarray | float = np.nan  # the same


def joint_histogram(gt_plane: np.ndarray, pred_plane: np.ndarray) -> JointHistogram:
    """Pixels that each pair of ids shares: ``(gt_ids (G,), pred_ids (P,), counts (G, P) int64)``.

    Both lists of ids ascend. The planes have one shape.
    """
    gt, pred, lengths = runs(gt_plane, pred_plane)
    gt_ids, gt_rank = ranked(gt)
    pred_ids, pred_rank = ranked(pred)
    shape = len(gt_ids), len(pred_ids)
    pair = gt_rank * len(pred_ids) + pred_rank
    # float64 weights hold pixel counts exactly
    counts = np.bincount(pair, weights=lengths, minlength=shape[0] * shape[1])
    return gt_ids, pred_ids, counts.astype(np.int64).reshape(shape)


@dataclass(frozen=True)
class SegmentMatches:
    """How the predicted segments of one image fare against the true ones.

    The M matched pairs are rows of the two tables: prediction ``pred_rows[m]`` is the true segment
    ``gt_rows[m]`` with IoU ``iou[m]``.
    """

    gt: SegmentTable
    pred: SegmentTable
    gt_rows: np.ndarray  # (M,) int64
    pred_rows: np.ndarray  # (M,) int64
    iou: np.ndarray  # (M,) float64
    is_false_positive: np.ndarray  # (T,) bool, over the predicted segments
    is_false_negative: np.ndarray  # (S,) bool, over the true segments
    gt_areas: np.ndarray  # (S,) int64, pixels in the plane
    pred_areas: np.ndarray  # (T,) int64
    shared: np.ndarray  # (S, T) int64, pixels in both
    on_void: np.ndarray  # (T,) int64, pixels of a prediction on ground-truth void

    def counts(self) -> ImageCounts:
        """The counts of the image by category."""
        gt, pred = self.gt.categories, self.pred.categories
        counts = {category: [0.0, 0, 0, 0] for category in (*gt.tolist(), *pred.tolist())}
        for category, iou in zip(gt[self.gt_rows].tolist(), self.iou.tolist()):
            counts[category][0] += iou
            counts[category][1] += 1
        for category in pred[self.is_false_positive].tolist():
            counts[category][2] += 1
        for category in gt[self.is_false_negative].tolist():
            counts[category][3] += 1
        return counts


def panoptic_map_segments(
    ids: np.ndarray, *, num_classes: int, scores: Mapping[int, float] = MappingProxyType({})
) -> SegmentTable:
    """The segments among the ids of a panoptic map, which are values of ``map_value``.

    Labels from ``num_classes`` on are void, and no segment is a crowd. ``scores`` are by id.
    """
    ids = ids[(ids >= 0) & (label_of(ids) < num_classes)].astype(np.int64)
    found = np.array([scores.get(i, np.nan) for i in ids.tolist()], float)
    return SegmentTable(ids, label_of(ids), np.zeros(len(ids), bool), scores=found)


def match_segments(
    gt: SegmentTable,
    pred: SegmentTable,
    *,
    gt_void: int,
    histogram: JointHistogram,
    boundary: JointHistogram | None = None,
    believe_areas: bool = False,
) -> SegmentMatches:
    """Match predicted with true segments of one image by the rules of PQ, which the module names.

    ``histogram`` is the :func:`joint_histogram` of the two planes. Ids of the ground-truth plane
    that are neither ``gt_void`` nor listed in ``gt`` belong to no segment but do count in the area
    of a prediction, as in panopticapi. Ids of the prediction that ``pred`` does not list are void.
    With ``boundary``, that of the boundaries, the smaller of the two IoUs counts.
    ``believe_areas`` takes the areas that ``gt`` states for true, as panopticapi does, so that an
    IoU may exceed 1.
    """
    shared, gt_areas, pred_areas, on_void = _overlaps(gt, pred, gt_void, histogram)
    same_class = gt.categories[:, None] == pred.categories
    may_match = (shared > 0) & same_class & ~gt.is_crowd[:, None]
    believed = gt_areas
    if believe_areas:
        believed = np.where(np.isnan(gt.areas), gt_areas, gt.areas)
    iou = _iou(shared, believed, pred_areas - on_void, may_match)
    if boundary is not None:
        near, gt_near, pred_near, near_void = _overlaps(gt, pred, gt_void, boundary)
        iou = np.minimum(iou, _iou(near, gt_near, pred_near - near_void, may_match))
    gt_rows, pred_rows = np.nonzero(iou > 0.5)

    forgiven = on_void
    last_crowds = dict(zip(gt.categories[gt.is_crowd].tolist(), np.flatnonzero(gt.is_crowd)))
    for row in last_crowds.values():
        forgiven = forgiven + shared[row] * same_class[row]
    is_false_positive, is_false_negative = 2 * forgiven <= pred_areas, ~gt.is_crowd
    is_false_positive[pred_rows] = False
    is_false_negative[gt_rows] = False
    return SegmentMatches(
        gt=gt,
        pred=pred,
        gt_rows=gt_rows,
        pred_rows=pred_rows,
        iou=iou[gt_rows, pred_rows],
        is_false_positive=is_false_positive,
        is_false_negative=is_false_negative,
        gt_areas=gt_areas,
        pred_areas=pred_areas,
        shared=shared,
        on_void=on_void,
    )


def _overlaps(
    gt: SegmentTable, pred: SegmentTable, gt_void: int, histogram: JointHistogram
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shared pixels (S, T), areas (S,) and (T,), and pixels (T,) of predictions on true void."""
    gt_ids, pred_ids, counts = histogram
    counts = framed(counts)  # for ids that have no pixel
    rows, columns = positions(gt.ids, gt_ids), positions(pred.ids, pred_ids)
    gt_areas, pred_areas = counts.sum(axis=1)[rows], counts.sum(axis=0)[columns]
    counts = counts[:, columns]
    return counts[rows], gt_areas, pred_areas, counts[positions(gt_void, gt_ids)]


def framed(table: np.ndarray) -> np.ndarray:
    """The table (G, P) with a row and a column of zeros at its end."""
    result = np.zeros((table.shape[0] + 1, table.shape[1] + 1), table.dtype)
    result[:-1, :-1] = table
    return result


def _iou(
    shared: np.ndarray, gt_areas: np.ndarray, pred_areas: np.ndarray, where: np.ndarray
) -> np.ndarray:
    """The IoU (S, T) of some pairs, 0 for others."""
    union = pred_areas + gt_areas[:, None] - shared
    with np.errstate(divide='ignore'):  # of believed areas; infinite in panopticapi, too
        return np.divide(shared, union, out=np.zeros(shared.shape), where=where)


def aggregate(images: Iterable[ImageCounts], categories: Mapping[int, bool]) -> dict[str, dict]:
    """PQ, SQ and RQ of a data set as fractions, with the keys and order of panopticapi.

    The keys are ``All``, ``per_class``, ``Things`` and ``Stuff``. ``categories`` says of each
    category to average over whether it is one of things; others take no part. The means are those
    over the ``n`` categories that occur in the ground truth or in a prediction that counts. Where
    none occurs, the figures and ``n`` are 0 (panopticapi divides by zero).
    """
    totals = {category: np.zeros(4) for category in categories}
    for counts in images:
        for category in counts.keys() & categories.keys():
            totals[category] += counts[category]
    per_class = {}
    for category, total in totals.items():
        iou_sum, tp, fp, fn = total.tolist()
        weight = max(tp + 0.5 * fp + 0.5 * fn, 0.5)  # 0.5 is the smallest of a category that occurs
        per_class[category] = dict(pq=iou_sum / weight, sq=iou_sum / max(tp, 1), rq=tp / weight)

    def mean(kinds: Sequence[bool]) -> dict:
        chosen = [c for c, is_thing in categories.items() if is_thing in kinds and totals[c].any()]
        means = {
            key: sum(per_class[c][key] for c in chosen) / max(len(chosen), 1)
            for key in ('pq', 'sq', 'rq')
        }
        return dict(means, n=len(chosen))

    return dict(
        All=mean((True, False)), per_class=per_class, Things=mean((True,)), Stuff=mean((False,))
    )


def figures_table(figures: Mapping[str, dict], classes: Sequence[str] = ()) -> str:
    """The figures in percent as panopticapi prints them, with one more line per class."""
    rows = [(name, figures[name]) for name in ('All', 'Things', 'Stuff')]
    rows += zip(classes, figures['per_class'].values())
    width = max(10, *(len(name) for name, _ in rows))
    lines = [f'{"":{width}s}|    PQ     SQ     RQ     N', '-' * (width + 28)]
    for name, row in rows:
        percent = '  '.join(f'{100 * row[key]:5.1f}' for key in ('pq', 'sq', 'rq'))
        lines.append(f'{name:{width}s}| {percent} {row.get("n", ""):>5}'.rstrip())
    return '\n'.join(lines)
