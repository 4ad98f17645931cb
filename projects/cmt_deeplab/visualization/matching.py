"""Which predicted segment is which of the ground truth, for pictures."""

from collections.abc import Iterable

import numpy as np

from cmt_deeplab.evaluation.pq import SegmentTable, joint_histogram


def segment_table(
    segment_map: np.ndarray, *, num_classes: int, crowds: Iterable[int] = ()
) -> SegmentTable:
    """The segments of a map ``label + 1000 * instance``; ids with the label ``num_classes`` are void and left out."""
    ids = np.unique(segment_map).astype(np.int64)
    ids = ids[ids % 1000 < num_classes]
    return SegmentTable(ids=ids, categories=ids % 1000, is_crowd=np.isin(ids, list(crowds)))


def match_segments(
    segment_map: np.ndarray,
    reference_map: np.ndarray,
    *,
    num_classes: int,
    crowds: Iterable[int] = (),
) -> tuple[dict[int, int], list[int]]:
    """``{segment: reference segment}`` and the false positives, by the rules of PQ: same class, IoU > 0.5, void and crowds forgiven.

    Both maps are ``(H, W)``, ``label + 1000 * instance``, void = ``num_classes``. Raises ``ValueError`` where they differ in shape.
    """
    crowds = frozenset(crowds)
    reference_ids, ids, counts = joint_histogram(reference_map, segment_map)
    area, reference_area = counts.sum(axis=0), counts.sum(axis=1)
    void = counts[reference_ids % 1000 >= num_classes].sum(axis=0)
    matches: dict[int, int] = {}
    false_positives: list[int] = []
    for column, segment in enumerate(ids):
        if segment % 1000 >= num_classes:
            continue
        forgiven = void[column]
        for row, reference in enumerate(reference_ids):
            if reference % 1000 != segment % 1000:
                continue
            if int(reference) in crowds:
                forgiven += counts[row, column]
            elif (
                2 * counts[row, column]
                > area[column] + reference_area[row] - counts[row, column] - void[column]
            ):
                matches[int(segment)] = int(reference)
        if int(segment) not in matches and 2 * forgiven <= area[column]:
            false_positives.append(int(segment))
    return matches, false_positives
