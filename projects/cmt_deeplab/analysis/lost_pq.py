"""Where the lost PQ goes: 1 - PQ as a sum over six causes.

PQ of a class is ``sum(IoU) / D`` with ``D = TP + FP / 2 + FN / 2``, so that
``1 - PQ = (sum(1 - IoU) + FP / 2 + FN / 2) / D``. Each term has one cause: the matched segments are
loose, and each unmatched one gets the first cause of this list that fits. As in TIDE (Bolya et al.,
ECCV 2020) a cause is named after the change that would mend the segment.

* wrong class: it would match a segment of another class (IoU > 0.5).
* merged: predictions span several true segments of their class. One spans several if it covers more
  than half of each, or is scattered over them: none has a quarter of the pixels that it has on all.
  A true segment, of any class, is merged if more than half of it lies in such predictions, and so
  are these predictions.
* split: several predictions of one class lie in one true segment with more than half of their
  pixels each, and together they would match it.
* loose: an unmatched true and an unmatched predicted segment of one class have an IoU from 0.1,
  TIDE's limit of a poor localization, to 0.5.
* missed: any other true segment. spurious: any other prediction.

Crowds and void count as in PQ: a crowd is never a partner, and pixels of a prediction on void do
not count. This module imports neither torch nor mmdet.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cmt_deeplab.evaluation.pq import SegmentMatches

KINDS = 'true positive', 'false positive', 'false negative'  # of the rows of segment_rows
CAUSES = ('merged', 'split', 'missed', 'spurious', 'wrong class', 'loose')
LOOSE_IOU = 0.1
# what the report says of each, after "Most of the lost PQ is ..."
MEANINGS = {
    'merged': 'one predicted segment covers several true ones',
    'split': 'several predicted segments share one true segment',
    'missed': 'true segments that no prediction has',
    'spurious': 'predicted segments where the truth has none',
    'wrong class': 'right masks with the class of another',
    'loose': 'masks whose outline is not that of the true segment',
}


def unmatched_causes(matches: SegmentMatches) -> tuple[np.ndarray, np.ndarray]:
    """The causes of the true (S,) and of the predicted (T,) segments of an image, as ``CAUSES``.

    Only those of false negatives and false positives have a meaning.
    """
    gt, pred = matches.gt, matches.pred
    shared = matches.shared * ~gt.is_crowd[:, None]  # (S, T)
    true_areas, areas = matches.gt_areas[:, None], matches.pred_areas - matches.on_void
    same_class = gt.categories[:, None] == pred.categories
    iou = shared / np.maximum(true_areas + areas - shared, 1)
    is_found = np.zeros(len(pred.ids), bool)
    is_found[matches.pred_rows] = True

    other_class = (iou > 0.5) & ~same_class
    of_class = shared * same_class
    spans = (2 * of_class > true_areas).sum(axis=0) > 1
    spans |= 4 * of_class.max(axis=0, initial=0) < of_class.sum(axis=0)
    is_merged = 2 * (shared * spans).sum(axis=1) > matches.gt_areas
    merges = (shared > 0) & spans & is_merged[:, None]
    lies_in = (2 * shared > areas) & same_class
    joined = (shared * lies_in).sum(axis=1)
    union = matches.gt_areas + (areas * lies_in).sum(axis=1) - joined
    parts = lies_in & ((lies_in.sum(axis=1) > 1) & (2 * joined > union))[:, None]
    loose = (iou >= LOOSE_IOU) & same_class & matches.is_false_negative[:, None] & ~is_found
    relations = {'wrong class': other_class, 'merged': merges, 'split': parts, 'loose': loose}
    causes = []
    for axis, rest in ((1, 'missed'), (0, 'spurious')):
        chosen = np.full(shared.shape[1 - axis], CAUSES.index(rest))
        for cause, relation in reversed(relations.items()):  # the first one that fits is the last
            chosen[relation.any(axis=axis)] = CAUSES.index(cause)
        causes.append(chosen)
    return tuple(causes)


def lost_pq(segments: np.ndarray, categories: Mapping[int, bool]) -> dict[str, dict]:
    """The lost PQ of a data set by cause, as fractions, with the groups of ``pq.aggregate``.

    The keys are ``All``, ``Things``, ``Stuff`` and ``per_class`` (by category). Each value has
    ``lost`` by cause, whose sum is 1 - PQ, the number of ``true_positives``, and that of
    ``false_positives`` and ``false_negatives`` by cause. Where nothing occurs, all are 0.

    Args:
        segments: the rows of all images, as :func:`.segment_rows.segment_rows` returns them.
        categories: says of each category whether it is one of things.
    """
    per_class = {}
    for category in categories:
        rows = segments[segments['category'] == category]
        number = np.zeros((len(KINDS), len(CAUSES)))
        np.add.at(number, (rows['kind'], rows['cause']), 1)
        lost = number[1:].sum(axis=0) / 2
        lost[CAUSES.index('loose')] += np.sum(1 - rows['iou'], where=rows['kind'] == 0)
        weight = number[0].sum() + number[1:].sum() / 2
        per_class[category] = lost / max(weight, 0.5), number.astype(int)

    def row(chosen: Sequence[int]) -> dict:
        found = [per_class[category] for category in chosen if per_class[category][1].any()]
        lost = sum((lost for lost, _ in found), np.zeros(len(CAUSES))) / max(len(found), 1)
        number = sum((number for _, number in found), np.zeros((len(KINDS), len(CAUSES)), int))
        by_cause = (dict(zip(CAUSES, values.tolist())) for values in (lost, *number[1:]))
        return dict(
            zip(('lost', 'false_positives', 'false_negatives'), by_cause),
            true_positives=int(number[0].sum()),
        )

    return dict(
        All=row([*categories]),
        Things=row([c for c, is_thing in categories.items() if is_thing]),
        Stuff=row([c for c, is_thing in categories.items() if not is_thing]),
        per_class={category: row([category]) for category in categories},
    )


def main_cause(row: Mapping[str, Mapping[str, float]]) -> str | None:
    """The cause by which the most of the PQ of a row of :func:`lost_pq` is lost, if any is."""
    cause = max(CAUSES, key=row['lost'].get)
    return cause if row['lost'][cause] else None


def lost_table(table: Mapping[str, dict], classes: Sequence[str] = ()) -> str:
    """The lost PQ in percent by cause, with one more line per class; the main cause has a star."""
    rows = [(group, table[group]) for group in ('All', 'Things', 'Stuff')]
    rows += zip(classes, table['per_class'].values())
    width = max(10, *(len(name) for name, _ in rows))
    lines = [f'{"lost PQ":{width}s}|   total' + ''.join(f'{cause:>12s}' for cause in CAUSES)]
    lines.append('-' * len(lines[0]))
    for name, row in rows:
        lost, main = row['lost'], main_cause(row)
        cells = (f'{100 * lost[cause]:11.1f}{" *"[cause == main]}' for cause in CAUSES)
        lines.append(f'{name:{width}s}|{100 * sum(lost.values()):8.1f}{"".join(cells)}'.rstrip())
    return '\n'.join(lines)
