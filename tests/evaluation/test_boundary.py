"""Boundary PQ against its definition, one segment and one pixel at a time."""

import numpy as np
import pytest
from cmt_deeplab.evaluation.boundary import boundary_histogram, boundary_pixels
from cmt_deeplab.evaluation.pq import SegmentTable, joint_histogram, match_segments

VOID = 0


def slow_boundary(mask, distance):
    """The pixels of a mask within ``distance`` of a pixel that is not in it, in both directions."""
    outside = np.pad(~mask, distance, constant_values=True)
    return np.array(
        [
            [mask[y, x] and outside[y : y + 2 * distance + 1, x : x + 2 * distance + 1].any()
             for x in range(mask.shape[1])]
            for y in range(mask.shape[0])
        ]
    )  # fmt: skip


def random_plane(rng, shape, number=7, most=1 << 24):
    plane = np.zeros(shape, np.uint32)
    for i in rng.choice(most - 1, number, replace=False) + 1:
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        plane[y : y + rng.integers(5, 60), x : x + rng.integers(5, 60)] = i
    return plane


@pytest.mark.parametrize(('shape', 'distance'), [((60, 80), 2), ((20, 30), 1), ((110, 125), 3)])
def test_the_boundary_is_two_percent_of_the_diagonal_wide(shape, distance):
    plane = random_plane(np.random.default_rng(distance), shape)
    expected = np.any([slow_boundary(plane == i, distance) for i in np.unique(plane)], axis=0)
    assert (boundary_pixels(plane) == expected).all() and not expected.all()


@pytest.mark.parametrize('seed', range(10))
def test_the_smaller_iou_counts_and_void_is_left_out(seed):
    rng, shape, distance = np.random.default_rng(seed), (60, 80), 2
    gt_plane = random_plane(rng, shape)
    pred_plane = np.roll(gt_plane, rng.integers(0, 5), axis=1)
    pred_plane[:, :4] = rng.integers(1, 4)
    sides = []
    for plane in (gt_plane, pred_plane):
        ids = np.setdiff1d(plane, [VOID]).astype(np.int64)
        sides.append(SegmentTable(ids, ids % 2, (ids % 7 == 0) & (plane is gt_plane)))
    gt, pred = sides
    found = match_segments(
        gt,
        pred,
        gt_void=VOID,
        histogram=joint_histogram(gt_plane, pred_plane),
        boundary=boundary_histogram(gt_plane, pred_plane, VOID),
    )
    expected = {}
    for s, (true, category, crowd) in enumerate(zip(gt.ids, gt.categories, gt.is_crowd)):
        for t, (guess, other) in enumerate(zip(pred.ids, pred.categories)):
            ious = []
            for near in (lambda mask: mask, lambda mask: slow_boundary(mask, distance)):
                one, two = near(gt_plane == true), near(pred_plane == guess)
                two_on_truth = two & (gt_plane != VOID)
                ious.append((one & two).sum() / max((one | two_on_truth).sum(), 1))
            if not crowd and category == other and min(ious) > 0.5:
                expected[s, t] = min(ious)
    assert dict(zip(zip(found.gt_rows, found.pred_rows), found.iou)) == pytest.approx(expected)
    assert len(expected)
