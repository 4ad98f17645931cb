"""Counting against the slow definition, and the rules for void and crowd one by one."""

import numpy as np
import pytest
from cmt_deeplab.evaluation.pq import (
    SegmentTable,
    aggregate,
    joint_histogram,
    match_segments,
    panoptic_map_segments,
)

VOID = 0


def slow_count(gt_plane, gt, pred_plane, pred):
    """{category: [iou, tp, fp, fn]} with full masks, in the order of panopticapi."""
    out = {c: [0.0, 0, 0, 0] for c in list(gt.categories) + list(pred.categories)}
    gt_done, pred_done = set(), set()
    for g, gc, crowd, area in zip(gt.ids, gt.categories, gt.is_crowd, gt.areas):
        for p, pc in zip(pred.ids, pred.categories):
            if crowd or gc != pc:
                continue
            inter = ((gt_plane == g) & (pred_plane == p)).sum()
            union = (
                area
                + (pred_plane == p).sum()
                - inter
                - ((gt_plane == VOID) & (pred_plane == p)).sum()
            )
            if inter and inter / union > 0.5:
                out[gc][0] += inter / union
                out[gc][1] += 1
                gt_done.add(g)
                pred_done.add(p)
    crowds = {}
    for g, gc, crowd in zip(gt.ids, gt.categories, gt.is_crowd):
        if crowd:
            crowds[gc] = g
        elif g not in gt_done:
            out[gc][3] += 1
    for p, pc in zip(pred.ids, pred.categories):
        mask = pred_plane == p
        skip = (mask & (gt_plane == VOID)).sum() + (mask & (gt_plane == crowds.get(pc, -5))).sum()
        if p not in pred_done and not skip / mask.sum() > 0.5:
            out[pc][2] += 1
    return out


def table(ids, categories, plane, crowd=None):
    ids = np.array(ids, dtype=np.int64)
    crowd = np.zeros(len(ids), dtype=bool) if crowd is None else np.array(crowd, dtype=bool)
    return SegmentTable(
        ids,
        np.array(categories, dtype=np.int64),
        crowd,
        np.array([(plane == i).sum() for i in ids], dtype=np.int64),
    )


def random_plane(rng, ids, shape=(30, 41)):
    plane = np.zeros(shape, dtype=np.uint32)
    for i in ids:
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        plane[y : y + rng.integers(2, 25), x : x + rng.integers(2, 25)] = i
    return plane


def count(gt_plane, gt, pred_plane, pred, **options):
    histogram = joint_histogram(gt_plane, pred_plane)
    return match_segments(gt, pred, gt_void=VOID, histogram=histogram, **options).counts()


@pytest.mark.parametrize('seed', range(40))
def test_equals_the_slow_definition(seed):
    rng = np.random.default_rng(seed)
    ids = rng.choice(1 << 24, 8, replace=False) + 1
    gt_plane = random_plane(rng, ids)
    pred_ids = np.arange(1, 8)
    pred_plane = random_plane(rng, pred_ids)
    for old, new in zip(ids, pred_ids):  # make some agree
        if rng.random() < 0.6:
            pred_plane[gt_plane == old] = new
    pred_ids = [i for i in pred_ids if (pred_plane == i).any()]
    gt = table(ids, rng.integers(1, 4, len(ids)), gt_plane, rng.random(len(ids)) < 0.35)
    pred = table(pred_ids, rng.integers(1, 4, len(pred_ids)), pred_plane)
    got, expected = (
        count(gt_plane, gt, pred_plane, pred),
        slow_count(gt_plane, gt, pred_plane, pred),
    )
    assert got.keys() == expected.keys()
    for category in expected:
        assert got[category] == pytest.approx(expected[category], abs=1e-12)


def test_joint_histogram_counts_every_pixel_once():
    rng = np.random.default_rng(0)
    gt, pred = rng.integers(-2, 5, (17, 23)), rng.integers(0, 4, (17, 23)) * 1000
    gt_ids, pred_ids, counts = joint_histogram(gt, pred)
    assert counts.sum() == gt.size
    for row, g in enumerate(gt_ids):
        for column, p in enumerate(pred_ids):
            assert counts[row, column] == ((gt == g) & (pred == p)).sum()
    assert joint_histogram(np.zeros((0, 3)), np.zeros((0, 3)))[2].shape == (0, 0)


def test_only_the_last_crowd_of_a_class_excuses_a_false_positive():
    gt_plane = np.repeat(np.array([[5, 6]]), 4, axis=0).repeat(5, axis=1)
    on_first, on_last = (gt_plane == 5) * 1, (gt_plane == 6) * 1
    gt = table([5, 6], [3, 3], gt_plane, [1, 1])
    assert count(gt_plane, gt, on_first, table([1], [3], on_first)) == {3: [0, 0, 1, 0]}
    assert count(gt_plane, gt, on_last, table([1], [3], on_last)) == {3: [0, 0, 0, 0]}
    assert count(gt_plane, gt, on_last, table([1], [4], on_last))[4] == [
        0,
        0,
        1,
        0,
    ]  # another class is not excused


def test_exactly_half_on_void_is_a_false_positive_and_void_leaves_the_union():
    gt_plane = np.array([[0, 0, 8, 8]])
    everywhere, gt = np.ones_like(gt_plane), table([8], [2], gt_plane)
    assert count(gt_plane, gt, everywhere, table([1], [2], everywhere)) == {2: [1.0, 1, 0, 0]}
    assert count(gt_plane, gt, everywhere, table([1], [3], everywhere)) == {
        2: [0, 0, 0, 1],
        3: [0, 0, 1, 0],
    }


def test_areas_are_counted_unless_believed_and_unlisted_ids_are_not_void():
    gt_plane, pred_plane = np.array([[8, 8, 9, 0]]), np.array([[1, 1, 1, 1]])
    pred = table([1], [2], pred_plane)
    listed = SegmentTable(np.array([8]), np.array([2]), np.array([False]), np.array([4.0]))
    assert count(gt_plane, listed, pred_plane, pred)[2] == [2 / 3, 1, 0, 0]
    # 2 / (4 + 4 - 2 - 1) is under a half
    assert count(gt_plane, listed, pred_plane, pred, believe_areas=True)[2] == [0, 0, 1, 1]
    unknown = SegmentTable(np.array([8]), np.array([2]), np.array([False]), np.array([np.nan]))
    assert count(gt_plane, unknown, pred_plane, pred, believe_areas=True)[2] == [2 / 3, 1, 0, 0]


def test_aggregate_averages_over_classes_that_occur():
    plane = np.array([[1, 1, 2, 2]])
    rows = [
        count(plane, table([1, 2], [10, 20], plane), guess, table([1], [10], guess))
        for guess in (np.array([[1, 1, 0, 0]]),) * 2
    ]
    figures = aggregate(rows, {20: False, 10: True, 30: False})
    assert figures['All'] == dict(pq=0.5, sq=0.5, rq=0.5, n=2)
    assert figures['Things']['pq'] == 1 and figures['Stuff'] == dict(pq=0, sq=0, rq=0, n=1)
    assert list(figures['per_class']) == [20, 10, 30] and figures['per_class'][30] == dict(
        pq=0, sq=0, rq=0
    )
    assert aggregate([], {1: True})['All'] == dict(pq=0, sq=0, rq=0, n=0)


def test_pictures_and_metric_read_one_match():
    """Of two crowds of one category only the last one excuses a prediction, in both places."""
    gt_plane = np.repeat(np.array([[5, 6, 7]]), 4, axis=0).repeat(5, axis=1)
    gt = table([5, 6, 7], [3, 3, 4], gt_plane, [1, 1, 0])
    pred = table([5, 6, 7], [3, 3, 4], gt_plane)
    histogram = joint_histogram(gt_plane, gt_plane)
    matches = match_segments(gt, pred, gt_void=VOID, histogram=histogram)
    assert pred.ids[matches.is_false_positive].tolist() == [5]
    assert not matches.is_false_negative.any()
    pairs = zip(gt.ids[matches.gt_rows], pred.ids[matches.pred_rows], matches.iou)
    assert list(pairs) == [(7, 7, 1.0)]
    assert count(gt_plane, gt, gt_plane, pred) == {3: [0, 0, 1, 0], 4: [1, 1, 0, 0]}


def test_segments_of_a_panoptic_map():
    found = panoptic_map_segments(np.array([-1, 2, 5, 1000, 2001, 3001, 3005]), num_classes=5)
    assert found.ids.tolist() == [2, 1000, 2001, 3001]
    assert found.categories.tolist() == [2, 0, 1, 1]
    assert not found.is_crowd.any()
