"""The assigner against brute force over all matchings."""

import itertools
from dataclasses import replace

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import PanopticHungarianAssigner
from cmt_deeplab.criterion.targets import SegmentPlanes
from cmt_deeplab.structures import PanopticTarget


def best_total(similarity):
    if similarity.shape[0] < similarity.shape[1]:
        similarity = similarity.t()
    centers, segments = similarity.shape
    return max(
        (
            sum(float(similarity[n, k]) for k, n in enumerate(chosen))
            for chosen in itertools.permutations(range(centers), segments)
        ),
        default=0.0,
    )


def reference_of(prediction, image, target):
    return slow.similarity(prediction.mask_logits[image], prediction.class_logits[image], target)


@pytest.mark.parametrize(
    'num_centers, numbers', [(6, (4, 2)), (4, (6, 1)), (5, (5, 0)), (1, (3, 3))]
)
def test_brute_force(num_centers, numbers):
    prediction = slow.make_prediction(num_centers=num_centers)
    targets = [slow.make_target(number, seed=i, padding=i == 1) for i, number in enumerate(numbers)]
    match = PanopticHungarianAssigner()(prediction, targets)
    for i, target in enumerate(targets):
        probability, dice, void_share = reference_of(prediction, i, target)
        segments = (match.centers[i] >= 0).nonzero()[:, 0]
        centers = match.centers[i, segments]
        assert len(centers.unique()) == len(segments) == min(num_centers, numbers[i])
        similarity = probability * dice
        assert float(similarity[centers, segments].sum()) == pytest.approx(
            best_total(similarity), abs=1e-6
        )
        for ours, theirs in (
            (match.probability[i, segments], probability[centers, segments]),
            (match.dice[i, segments], dice[centers, segments]),
            (match.void_share[i], void_share),
        ):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-7)


def test_similarity_of_every_pair():
    prediction = slow.make_prediction()
    targets = [slow.make_target(7), slow.make_target(3, padding=True)]
    probability, dice, _ = PanopticHungarianAssigner().similarity(
        prediction, SegmentPlanes.of(targets)
    )
    for i, target in enumerate(targets):
        for ours, theirs in zip((probability, dice), reference_of(prediction, i, target)):
            torch.testing.assert_close(
                ours[i, :, : len(target.labels)].double(), theirs, rtol=1e-5, atol=1e-7
            )


def test_permuting_the_centers_permutes_the_match():
    prediction = slow.make_prediction(num_centers=8)
    targets = [slow.make_target(5), slow.make_target(8, seed=1)]
    order = torch.randperm(8)
    permuted = replace(
        prediction,
        mask_logits=prediction.mask_logits[:, order],
        class_logits=prediction.class_logits[:, order],
    )
    match, other = (
        PanopticHungarianAssigner()(prediction, targets),
        PanopticHungarianAssigner()(permuted, targets),
    )
    moved = torch.where(other.centers < 0, -1, order[other.centers])
    assert torch.equal(match.centers, moved)


def test_a_segment_without_pixels_is_not_matched():
    index = torch.zeros(17, 17, dtype=torch.int16)
    index[1, 1] = 1
    index[4, 4] = 2
    match = PanopticHungarianAssigner()(
        slow.make_prediction(batch=1), [PanopticTarget(index=index, labels=torch.tensor([0, 1, 2]))]
    )
    assert [n >= 0 for n in match.centers[0].tolist()] == [True, False, True, False]


@pytest.mark.parametrize('name', ['mask_logits', 'class_logits'])
def test_a_prediction_that_is_not_finite_is_not_matched_and_named(name):
    prediction = slow.make_prediction()
    bad = getattr(prediction, name).detach().clone()
    bad[1, 0] = float('nan')
    match = PanopticHungarianAssigner()(
        replace(prediction, **{name: bad}), [slow.make_target(2), slow.make_target(3)]
    )
    assert match.not_finite == name and (match.centers == -1).all()


def test_labels_and_planes_that_disagree_are_named():
    good = slow.make_target(3)
    with pytest.raises(ValueError, match='Image 1 .* is no class of the prediction'):
        PanopticHungarianAssigner()(
            slow.make_prediction(), [good, PanopticTarget(good.index, torch.tensor([0, 6, 1]))]
        )
    with pytest.raises(ValueError, match='Image 0 .* a segment that has no label'):
        PanopticHungarianAssigner()(
            slow.make_prediction(), [PanopticTarget(good.index, torch.tensor([0, 1])), good]
        )


def test_bf16_logits_are_matched_in_fp32_under_autocast():
    prediction = slow.make_prediction(num_centers=6)
    half = replace(
        prediction,
        mask_logits=prediction.mask_logits.bfloat16(),
        class_logits=prediction.class_logits.bfloat16(),
    )
    same = replace(
        half, mask_logits=half.mask_logits.float(), class_logits=half.class_logits.float()
    )
    targets = [slow.make_target(4), slow.make_target(6, seed=1)]
    expected = PanopticHungarianAssigner()(same, targets)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        match = PanopticHungarianAssigner()(half, targets)
    assert torch.equal(match.centers, expected.centers)
