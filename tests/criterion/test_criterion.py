"""The criterion as a whole: stages, keys, any number of segments, precision."""

from dataclasses import replace

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import PanopticCriterion, PanopticHungarianAssigner, PanopticPQLoss
from cmt_deeplab.structures import PanopticTarget
from mmdet.registry import MODELS

FINAL = [
    'loss_pq_mask',
    'loss_pq_class',
    'loss_mask_id',
    'loss_instance',
    'loss_semantic',
    'loss_reference',
]


def stages(batch=2, num_centers=5, depth=128):
    return [
        slow.make_prediction(batch, num_centers, size, seed=i, depth=depth)
        for i, size in enumerate([(5, 5), (9, 9), (17, 17)])
    ]


def semantic(batch=2, size=(9, 9)):
    return torch.randn(batch, 7, *size, generator=torch.Generator().manual_seed(9)).requires_grad_()


def tensors_of(predictions):
    return [tensor for p in predictions for tensor in vars(p).values()]


def test_keys_and_weights():
    targets = [slow.make_target(4), slow.make_target(2, seed=1)]
    losses = MODELS.build(dict(type='PanopticCriterion', num_classes=6))(
        stages(), targets, semantic_logits=semantic()
    )
    deep = [f's{i}.{name}' for i in (0, 1) for name in FINAL if name != 'loss_semantic']
    assert sorted(losses) == sorted(FINAL + deep)
    assert all(value.shape == () and torch.isfinite(value) for value in losses.values())
    half = PanopticCriterion(num_classes=6, deep_supervision_weight=0.5)(
        stages(), targets, semantic_logits=semantic()
    )
    for name, value in losses.items():
        torch.testing.assert_close(half[name], value * (0.5 if name.startswith('s') else 1))


def test_the_third_argument_is_the_generator():
    prediction, targets = (
        slow.make_prediction(size=(17, 17)),
        [slow.make_target(4), slow.make_target(2, seed=1)],
    )
    criterion = PanopticCriterion(
        num_classes=6,
        losses=dict(only=dict(type='PanopticInstanceDiscriminationLoss', num_samples=9)),
    )
    first, again, other = (
        criterion([prediction], targets, torch.Generator().manual_seed(seed))['loss_instance']
        for seed in (0, 0, 1)
    )
    assert first == again != other


@pytest.mark.parametrize('share', [True, False])
def test_stages_use_the_shared_match_or_their_own(share):
    predictions, targets = stages(), [slow.make_target(4), slow.make_target(2, seed=1)]
    losses = PanopticCriterion(
        num_classes=6, losses=dict(only=dict(type='PanopticPQLoss')), share_final_match=share
    )(predictions, targets)
    matches = [PanopticHungarianAssigner()(p, targets) for p in predictions]
    assert not torch.equal(matches[0].centers, matches[-1].centers)
    for i, prefix in enumerate(['s0.', 's1.', '']):
        expected = PanopticPQLoss()(predictions[i], targets, matches[-1] if share else matches[i])
        for name, value in expected.items():
            torch.testing.assert_close(losses[prefix + name], value)


@pytest.mark.parametrize('unmatched_weight', ['one', 'void_share'])
def test_weights_of_the_matched_prediction_serve_all_stages(unmatched_weight):
    predictions, targets = (
        stages(),
        [slow.make_target(4), slow.make_target(7, seed=1, padding=True)],
    )
    loss = dict(type='PanopticPQLoss', unmatched_weight=unmatched_weight)
    losses = PanopticCriterion(num_classes=6, losses=dict(pq=loss))(predictions, targets)
    match, last = PanopticHungarianAssigner()(predictions[-1], targets), predictions[-1]
    for prediction, prefix in zip(predictions, ['s0.', 's1.', '']):
        expected = [
            slow.pq_loss(
                prediction.mask_logits[i],
                prediction.class_logits[i],
                target,
                slow.pairs_of(match, i, target, prediction.mask_logits.shape[-2:]),
                unmatched_weight,
                (last.mask_logits[i], last.class_logits[i]),
            )
            for i, target in enumerate(targets)
        ]
        for name, terms in zip(['loss_pq_mask', 'loss_pq_class'], zip(*expected)):
            torch.testing.assert_close(
                losses[prefix + name].double(),
                3 * torch.stack(terms).mean().double(),
                rtol=1e-5,
                atol=1e-6,
            )


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('numbers', [(0, 0), (1, 0), (150, 300), (300,), (0,), (1,)])
def test_any_number_of_segments_gives_finite_losses_and_gradients(numbers, autocast):
    batch = len(numbers)
    targets = [slow.make_target(number, (33, 33), seed=i) for i, number in enumerate(numbers)]
    predictions = [
        slow.make_prediction(batch, 128, size, seed=i, depth=16)
        for i, size in enumerate([(5, 5), (17, 17)])
    ]
    if autocast:
        predictions = [
            type(p)(*(t.detach().bfloat16().requires_grad_() for t in vars(p).values()))
            for p in predictions
        ]
    logits = semantic(batch, (17, 17))
    criterion = PanopticCriterion(num_classes=6)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        losses = criterion(predictions, targets, semantic_logits=logits)
    assert all(torch.isfinite(value) and value.dtype == torch.float32 for value in losses.values())
    sum(losses.values()).backward()
    for tensor in [logits, *tensors_of(predictions)]:
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all()
        if max(numbers) > 0:
            assert (tensor.grad != 0).any()
    if max(numbers) == 0:  # nothing is labeled: only 'this center is void' remains
        assert all(value == 0 for name, value in losses.items() if 'pq_class' not in name)


def test_every_prediction_gets_a_gradient_whatever_the_losses_and_inf_does_not_spread():
    predictions, logits = stages(batch=1), semantic(1)
    infinite = [
        replace(p, pixel_features=torch.full_like(p.pixel_features, float('inf')).requires_grad_())
        for p in predictions
    ]
    criterion = PanopticCriterion(num_classes=6, losses=dict(only=dict(type='PanopticMaskIDLoss')))
    losses = criterion(infinite, [slow.make_target(2)], semantic_logits=logits)
    sum(losses.values()).backward()
    for tensor in [logits, *tensors_of(infinite)]:
        assert torch.isfinite(tensor.grad).all()


def test_permuting_the_centers_changes_nothing():
    targets = [slow.make_target(4, (33, 33)), slow.make_target(9, (33, 33), seed=1)]
    prediction = slow.make_prediction(num_centers=7, size=(17, 17))
    order = torch.randperm(7)
    permuted = replace(
        prediction,
        mask_logits=prediction.mask_logits[:, order],
        class_logits=prediction.class_logits[:, order],
        reference_points=prediction.reference_points[:, order],
    )
    criterion = PanopticCriterion(num_classes=6)
    torch.testing.assert_close(
        criterion([permuted], targets), criterion([prediction], targets), rtol=1e-5, atol=1e-6
    )


def test_padding_counts_for_nothing_but_the_softmax_of_its_own_pixels():
    target = slow.make_target(4, (16, 16), padding=True)
    prediction = slow.make_prediction(batch=1, size=(16, 16))
    padded = (target.index == -2)[None, None]
    other = replace(
        prediction,
        mask_logits=torch.where(padded, 9 * torch.randn(1, 5, 16, 16), prediction.mask_logits),
        pixel_features=torch.where(padded, torch.randn(1, 128, 16, 16), prediction.pixel_features),
    )
    criterion = PanopticCriterion(num_classes=6)
    torch.testing.assert_close(criterion([other], [target]), criterion([prediction], [target]))


def test_a_stage_without_reference_points_and_a_model_without_semantic_head():
    losses = PanopticCriterion(num_classes=6)(
        [slow.make_prediction(points=False)], [slow.make_target(3)] * 2
    )
    assert sorted(losses) == sorted(set(FINAL) - {'loss_semantic', 'loss_reference'})


def test_perfect_masks_cost_nothing():
    target = slow.make_target(4, (16, 16), void=False)
    one_hot = torch.nn.functional.one_hot(target.index.long(), 5).permute(2, 0, 1)[None]
    classes = torch.nn.functional.one_hot(torch.cat([target.labels, torch.tensor([6])]), 7)[None]
    prediction = slow.make_prediction(batch=1, size=(16, 16))
    prediction = replace(prediction, mask_logits=50.0 * one_hot, class_logits=50.0 * classes)
    losses = PanopticCriterion(num_classes=6)([prediction], [target])
    for name in ('loss_pq_mask', 'loss_pq_class', 'loss_mask_id'):
        assert losses[name] < 1e-4


@pytest.mark.parametrize(
    'build, sentence',
    [
        (lambda c, p, t: c([], t), 'got no predictions'),
        (lambda c, p, t: c([p], t[:1]), '1 targets for 2 images'),
        (
            lambda c, p, t: c([p], t, semantic_logits=torch.zeros(2, 6, 9, 9)),
            'semantic_logits have 6 channels',
        ),
        (
            lambda c, p, t: PanopticCriterion(num_classes=7)([p], t),
            'class_logits of stage 0 have 7 channels, but num_classes=7',
        ),
        (lambda c, p, t: PanopticCriterion(num_classes=6, losses=dict(pq=None)), 'has no losses'),
        (
            lambda c, p, t: PanopticCriterion(
                num_classes=6, losses=dict(only=dict(type='PanopticSemanticLoss'))
            )([p], t),
            'None of the losses',
        ),
        (lambda c, p, t: c([p], [t[0], slow.make_target(2, (33, 33))]), 'have the sizes'),
        (
            lambda c, p, t: c([replace(p, reference_points=torch.zeros(2, 5, 4, 2))], t),
            '4 reference points',
        ),
    ],
)
def test_wrong_use_is_named(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(
            PanopticCriterion(num_classes=6),
            slow.make_prediction(),
            [slow.make_target(2), slow.make_target(3)],
        )


def test_targets_of_a_batch_may_have_int64_planes():
    target = slow.make_target(3)
    wide = PanopticTarget(index=target.index.long(), labels=target.labels)
    criterion = PanopticCriterion(num_classes=6)
    prediction = slow.make_prediction(batch=1)
    torch.testing.assert_close(criterion([prediction], [wide]), criterion([prediction], [target]))


def test_the_number_of_thing_classes_is_handed_down():
    predictions, targets = (
        [slow.make_prediction()],
        [slow.make_target(4), slow.make_target(5, seed=1)],
    )
    losses = dict(discrimination=dict(type='PanopticMaskDiscriminationLoss'))
    things = PanopticCriterion(num_classes=6, num_things_classes=3, losses=losses)(
        predictions, targets
    )
    expected = torch.stack(
        [
            slow.mask_discrimination_loss(predictions[0].pixel_features[i], t, 3)
            for i, t in enumerate(targets)
        ]
    ).mean()
    torch.testing.assert_close(
        things['loss_mask_discrimination'].double(), expected, rtol=1e-5, atol=1e-6
    )
    every = PanopticCriterion(num_classes=6, losses=losses)(predictions, targets)
    assert abs(every['loss_mask_discrimination'] - things['loss_mask_discrimination']) > 1e-4


def test_a_list_of_losses_is_refused_with_the_new_way():
    with pytest.raises(ValueError, match=r"losses=dict\(pq=dict\(type='PanopticPQLoss'\)"):
        PanopticCriterion(num_classes=6, losses=[dict(type='PanopticPQLoss')])


def test_none_switches_a_loss_off():
    predictions, targets = stages(), [slow.make_target(4), slow.make_target(2, seed=1)]
    losses = dict(
        pq=dict(type='PanopticPQLoss'), mask_id=None, semantic=dict(type='PanopticSemanticLoss')
    )
    found = PanopticCriterion(num_classes=6, losses=losses)(predictions[-1:], targets)
    assert sorted(found) == ['loss_pq_class', 'loss_pq_mask']


@pytest.mark.parametrize('share', [True, False])
@pytest.mark.parametrize('side, align_corners', [(17, True), (16, False)])
def test_earlier_stages_at_the_size_of_the_final_one(side, align_corners, share):
    targets = [slow.make_target(4, (side, side)), slow.make_target(2, (side, side), seed=1)]
    half = side // 2 + side % 2
    predictions = [
        slow.make_prediction(size=(size, size), seed=i, depth=16)
        for i, size in enumerate([half, side])
    ]
    resized = slow.resized_prediction(predictions[0], (side, side), align_corners)
    kwargs = dict(num_classes=6, share_final_match=share)
    ours = PanopticCriterion(resize_to_final=True, **kwargs)(predictions, targets)
    theirs = PanopticCriterion(**kwargs)([resized, predictions[1]], targets)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    tensors = [predictions[0].mask_logits, predictions[0].pixel_features]
    for a, b in zip(*(torch.autograd.grad(sum(x.values()), tensors) for x in (ours, theirs))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    own_size = PanopticCriterion(**kwargs)(predictions, targets)
    assert abs(own_size['s0.loss_mask_id'] - ours['s0.loss_mask_id']) > 1e-3
