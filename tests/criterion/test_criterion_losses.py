"""Each loss, its value and its gradient, against the slow reference."""

import dataclasses

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import (
    PanopticHungarianAssigner,
    PanopticInstanceDiscriminationLoss,
    PanopticMaskDiscriminationLoss,
    PanopticMaskIDLoss,
    PanopticPQLoss,
    PanopticReferencePointLoss,
    PanopticSemanticLoss,
)
from cmt_deeplab.criterion.loss_input import sample_pixels
from cmt_deeplab.criterion.targets import SegmentPlanes
from cmt_deeplab.structures import PanopticTarget

# Segments of the two images; size of plane and prediction. Five centers: 7 and 9 segments are more.
CASES = [
    ((3, 1), (17, 17), (9, 9)),
    ((0, 4), (17, 17), (9, 9)),
    ((7, 2), (16, 16), (8, 8)),
    ((9, 9), (17, 17), (17, 17)),
    ((5, 3), (17, 33), (5, 9)),
    ((0, 0), (16, 16), (4, 4)),
]


def setup(case, **kwargs):
    numbers, plane, size = case
    targets = [
        slow.make_target(number, plane, seed=i, padding=i == 1) for i, number in enumerate(numbers)
    ]
    prediction = slow.make_prediction(size=size, **kwargs)
    return prediction, targets, PanopticHungarianAssigner()(prediction, targets)


def assert_same(prediction_tensors, fast, expected, atol=1e-5):
    torch.testing.assert_close(fast.double(), expected.double(), rtol=1e-5, atol=atol)
    ours = torch.autograd.grad(fast, prediction_tensors, retain_graph=True, allow_unused=True)
    theirs = torch.autograd.grad(expected, prediction_tensors, allow_unused=True)
    for tensor, a, b in zip(prediction_tensors, ours, theirs):
        zero = torch.zeros_like(tensor)
        torch.testing.assert_close(
            zero if a is None else a, zero if b is None else b, rtol=1e-4, atol=1e-6
        )


def batch_mean(values):
    return torch.stack(list(values)).mean()


@pytest.mark.parametrize('unmatched_weight', ['one', 'void_share'])
@pytest.mark.parametrize('case', CASES)
def test_pq(case, unmatched_weight):
    prediction, targets, match = setup(case)
    terms = PanopticPQLoss(loss_weight=3.0, unmatched_weight=unmatched_weight)(
        prediction, targets, match
    )
    expected = [
        slow.pq_loss(
            prediction.mask_logits[i],
            prediction.class_logits[i],
            t,
            slow.pairs_of(match, i, t, case[2]),
            unmatched_weight,
        )
        for i, t in enumerate(targets)
    ]
    tensors = [prediction.mask_logits, prediction.class_logits]
    assert_same(tensors, terms['loss_pq_mask'], 3 * batch_mean(e[0] for e in expected))
    assert_same(tensors, terms['loss_pq_class'], 3 * batch_mean(e[1] for e in expected))


def test_void_share_counts_padding_as_void():
    """As in deeplab2 and kmax-deeplab; whether a pixel is void or padding makes no difference."""
    prediction, targets, match = setup(((4, 3), (17, 17), (9, 9)))
    padded = targets[1]
    assert (padded.index == -2).any()
    loss = PanopticPQLoss(unmatched_weight='void_share')
    void = PanopticTarget(index=padded.index.clamp(min=-1), labels=padded.labels)
    values = [
        loss(prediction, pair, PanopticHungarianAssigner()(prediction, pair))['loss_pq_class']
        for pair in ([targets[0], padded], [targets[0], void])
    ]
    assert values[0] == values[1]
    area = (slow.small_plane(padded.index, (9, 9)) < 0).double().mean()
    blank = prediction.mask_logits[1:] * 0
    uniform = dataclasses.replace(slow.one_image(prediction, 1), mask_logits=blank)
    share = PanopticHungarianAssigner()(uniform, [padded]).void_share
    torch.testing.assert_close(share.double(), area.expand(1, 5), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('case', CASES)
def test_mask_id(case):
    prediction, targets, match = setup(case)
    fast = PanopticMaskIDLoss(loss_weight=0.3)(prediction, targets, match)['loss_mask_id']
    expected = [
        slow.mask_id_loss(prediction.mask_logits[i], t, slow.pairs_of(match, i, t, case[2]))
        for i, t in enumerate(targets)
    ]
    assert_same([prediction.mask_logits], fast, 0.3 * batch_mean(expected))


@pytest.mark.parametrize('case', CASES)
def test_instance_discrimination_on_all_pixels(case):
    prediction, targets, _ = setup(case)
    fast = PanopticInstanceDiscriminationLoss()(prediction, targets)['loss_instance']
    expected = [slow.instance_loss(prediction.pixel_features[i], t) for i, t in enumerate(targets)]
    assert_same([prediction.pixel_features], fast, batch_mean(expected))


@pytest.mark.parametrize('number', [20, 200])
def test_instance_discrimination_on_sampled_pixels(number):
    prediction, targets, _ = setup(((4, 2), (33, 33), (17, 17)))
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    fast = PanopticInstanceDiscriminationLoss(num_samples=number)(
        prediction, targets, generator=generators
    )['loss_instance']
    stage = SegmentPlanes.of(targets).at(torch.empty(len(targets), 17, 17))
    position, valid = sample_pixels(
        stage, number, 1.5, [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    )
    expected = [
        slow.instance_loss(prediction.pixel_features[i], t, chosen=position[i][valid[i]])
        for i, t in enumerate(targets)
    ]
    assert_same([prediction.pixel_features], fast, batch_mean(expected))


@pytest.mark.parametrize('num_things_classes', [None, 3])
@pytest.mark.parametrize('case', CASES)
def test_mask_discrimination(case, num_things_classes):
    prediction, targets, _ = setup(case)
    planes = SegmentPlanes.of(targets, num_things_classes)
    fast = PanopticMaskDiscriminationLoss()(prediction, planes)['loss_mask_discrimination']
    expected = [
        slow.mask_discrimination_loss(prediction.pixel_features[i], t, num_things_classes)
        for i, t in enumerate(targets)
    ]
    assert_same([prediction.pixel_features], fast, batch_mean(expected))


@pytest.mark.parametrize('void_first', [False, True])
@pytest.mark.parametrize('case', CASES)
def test_semantic(case, void_first):
    _, targets, _ = setup(case)
    logits = torch.randn(
        2, 7, *case[2], generator=torch.Generator().manual_seed(5)
    ).requires_grad_()
    fast = PanopticSemanticLoss(void_first=void_first)(logits, targets)['loss_semantic']
    expected = [slow.semantic_loss(logits[i], t, void_first) for i, t in enumerate(targets)]
    assert_same([logits], fast, batch_mean(expected))


SMALL_INSTANCES = dict(small_instance_weight=3, small_instance_area=70)


@pytest.mark.parametrize(
    'options, reference',
    [
        ({}, {}),
        (dict(hardest_share=0.2), dict(share=0.2)),
        (SMALL_INSTANCES, dict(small=(3, 70, 3))),
        (dict(hardest_share=0.2, **SMALL_INSTANCES), dict(share=0.2, small=(3, 70, 3))),
    ],
    ids=['all', 'hardest', 'small', 'hardest-and-small'],
)
def test_semantic_on_all_pixels_as_on_cityscapes(options, reference):
    targets = [slow.make_target(4, (33, 33)), slow.make_target(9, (33, 33), 6, 1, padding=True)]
    logits = torch.randn(2, 7, 17, 17, generator=torch.Generator().manual_seed(5)).requires_grad_()
    fast = PanopticSemanticLoss(num_samples=None, **options)(logits, SegmentPlanes.of(targets, 3))
    expected = [slow.semantic_loss(logits[i], t, **reference) for i, t in enumerate(targets)]
    assert_same([logits], fast['loss_semantic'], batch_mean(expected))
    sampled = PanopticSemanticLoss(num_samples=100)(logits, targets)['loss_semantic']
    assert abs(fast['loss_semantic'] - sampled) > 1e-3


def test_the_hardest_pixels_may_be_more_than_the_labeled_ones():
    index = torch.full((9, 9), -1)
    index[0, :5] = 0
    target = PanopticTarget(index=index, labels=torch.tensor([2]))
    logits = torch.randn(1, 7, 9, 9, generator=torch.Generator().manual_seed(5)).requires_grad_()
    loss = PanopticSemanticLoss(num_samples=None, hardest_share=0.2)
    expected = slow.semantic_loss(logits[0], target, share=0.2)
    assert_same([logits], loss(logits, [target])['loss_semantic'], expected)


@pytest.mark.parametrize('temperature', [0.1, 1.0])
def test_temperature_of_the_discrimination_losses(temperature):
    prediction, targets, _ = setup(CASES[2])
    for loss, reference in (
        (PanopticInstanceDiscriminationLoss, slow.instance_loss),
        (PanopticMaskDiscriminationLoss, slow.mask_discrimination_loss),
    ):
        (fast,) = loss(temperature=temperature)(prediction, targets).values()
        expected = [
            reference(prediction.pixel_features[i], t, temperature=temperature)
            for i, t in enumerate(targets)
        ]
        assert_same([prediction.pixel_features], fast, batch_mean(expected))


def test_semantic_on_sampled_pixels():
    _, targets, _ = setup(CASES[0])
    logits = torch.randn(2, 7, 17, 17, generator=torch.Generator().manual_seed(5)).requires_grad_()
    fast = PanopticSemanticLoss(num_samples=30)(
        logits, targets, generator=torch.Generator().manual_seed(1)
    )['loss_semantic']
    position, valid = sample_pixels(
        SegmentPlanes.of(targets).at(torch.empty(len(targets), 17, 17)),
        30,
        2.0,
        torch.Generator().manual_seed(1),
    )
    expected = [
        slow.semantic_loss(logits[i], t, chosen=position[i][valid[i]])
        for i, t in enumerate(targets)
    ]
    assert_same([logits], fast, batch_mean(expected))


@pytest.mark.parametrize('case', CASES)
def test_reference_points(case):
    prediction, targets, match = setup(case)
    fast = PanopticReferencePointLoss(loss_weight=2.0)(prediction, targets, match)['loss_reference']
    expected = [
        slow.reference_point_loss(
            prediction.reference_points[i], t, slow.pairs_of(match, i, t, case[2])
        )
        for i, t in enumerate(targets)
    ]
    assert_same([prediction.reference_points], fast, 2 * batch_mean(expected))


def test_a_matched_segment_without_pixels_at_the_stride_leaves_its_center_unmatched():
    index = torch.zeros(17, 17, dtype=torch.int16)
    index[1, 1] = 1  # falls between the samples of stride 2
    target = PanopticTarget(index=index, labels=torch.tensor([2, 4]))
    alone = PanopticTarget(index=index.clamp(max=0), labels=torch.tensor([2]))
    prediction = slow.make_prediction(batch=1)
    both = slow.make_match(prediction, [target], [[(3, 0), (1, 1)]])
    one = slow.make_match(prediction, [alone], [[(3, 0)]])
    for loss in (PanopticPQLoss(), PanopticMaskIDLoss()):
        torch.testing.assert_close(loss(prediction, [target], both), loss(prediction, [alone], one))


@pytest.mark.parametrize(
    'loss',
    [
        PanopticPQLoss(),
        PanopticPQLoss(unmatched_weight='void_share'),
        PanopticMaskIDLoss(),
        PanopticInstanceDiscriminationLoss(num_samples=40),
        PanopticMaskDiscriminationLoss(),
        PanopticReferencePointLoss(),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_a_batch_is_the_mean_of_its_images(loss):
    prediction, targets, match = setup(((7, 2), (17, 17), (9, 9)))
    whole = loss(prediction, targets, match, [torch.Generator().manual_seed(i) for i in range(2)])
    parts = [
        loss(
            slow.one_image(prediction, i),
            targets[i : i + 1],
            slow.one_match(match, i, targets[i]),
            torch.Generator().manual_seed(i),
        )
        for i in range(2)
    ]
    for name, value in whole.items():
        torch.testing.assert_close(
            value, (parts[0][name] + parts[1][name]) / 2, rtol=1e-5, atol=1e-6
        )


def test_wrong_use_is_named():
    prediction, targets, match = setup(CASES[0])
    with pytest.raises(ValueError, match='2 targets for 1 images'):
        PanopticMaskIDLoss()(slow.one_image(prediction, 0), targets, match)
    with pytest.raises(ValueError, match='hardest_share=0 must'):
        PanopticSemanticLoss(hardest_share=0)
    with pytest.raises(ValueError, match='unmatched_weight'):
        PanopticPQLoss(unmatched_weight='two')
    with pytest.raises(ValueError, match='2 generators were given for a batch of 1'):
        PanopticInstanceDiscriminationLoss(num_samples=3)(
            slow.one_image(prediction, 0),
            targets[:1],
            generator=[torch.Generator(), torch.Generator()],
        )


@pytest.mark.parametrize('unmatched_weight', ['one', 'void_share'])
def test_pq_weights_are_floored_so_that_no_center_leaves_the_mean(unmatched_weight):
    # Without void every share is 0. The matched class is improbable and its mask is elsewhere, so
    # that p and Dice are 0 as well.
    index = torch.zeros(9, 9, dtype=torch.int16)
    index[:, 5:] = 1
    target = PanopticTarget(index=index, labels=torch.tensor([1, 2]))
    prediction = slow.make_prediction(batch=1, num_centers=4)
    with torch.no_grad():
        prediction.mask_logits[0, 0] = -60
        prediction.class_logits[0, 0, 1] = -60
    match = slow.make_match(prediction, [target], [[(0, 0), (2, 1)]])
    terms = PanopticPQLoss(loss_weight=1.0, unmatched_weight=unmatched_weight)(
        prediction, [target], match
    )
    expected = slow.pq_loss(
        prediction.mask_logits[0],
        prediction.class_logits[0],
        target,
        [(0, 0), (2, 1)],
        unmatched_weight,
    )
    tensors = [prediction.mask_logits, prediction.class_logits]
    assert_same(tensors, terms['loss_pq_mask'], expected[0], atol=1e-8)
    assert_same(tensors, terms['loss_pq_class'], expected[1], atol=1e-8)


def test_pq_class_term_averages_over_the_centers_whose_term_is_not_zero():
    target = slow.make_target(2)
    prediction = slow.make_prediction(batch=1, num_centers=4)
    with torch.no_grad():
        prediction.class_logits[0, 3] = 0
        prediction.class_logits[0, 3, -1] = 200  # -log p(void) is exactly 0
    match = slow.make_match(prediction, [target], [[(0, 0), (2, 1)]])
    fast = PanopticPQLoss(loss_weight=1.0)(prediction, [target], match)['loss_pq_class']
    expected = slow.pq_loss(
        prediction.mask_logits[0], prediction.class_logits[0], target, [(0, 0), (2, 1)], 'one'
    )[1]
    assert_same([prediction.class_logits], fast, expected)
