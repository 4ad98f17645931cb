"""mmdet's matching costs and losses on cluster centers, against formulas written out in fp64."""

import itertools
from dataclasses import replace

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import (
    PanopticClassLoss,
    PanopticCriterion,
    PanopticHungarianAssigner,
    PanopticMaskLoss,
    PanopticMatchCostAssigner,
)
from cmt_deeplab.precision import softmax_log_odds
from cmt_deeplab.structures import MatchResult
from mask2former_criterion import MASK2FORMER
from mmdet.models import DiceLoss
from mmdet.models.task_modules import HungarianAssigner
from torch import nn


def batch(num_centers=6, numbers=(4, 3)):
    targets = [slow.make_target(n, seed=i, padding=i == 1) for i, n in enumerate(numbers)]
    return slow.make_prediction(len(numbers), num_centers), targets


def mask_probabilities(prediction, image, kind):
    logits = prediction.mask_logits[image].double().flatten(1)
    return logits.softmax(0) if kind == 'softmax' else logits.sigmoid()


def binary_entropy(p, goal):
    return -(goal * p.log() + (1 - goal) * (1 - p).log())


def focal(p, goal, alpha=0.25, gamma=2):
    weight = alpha * goal * (1 - p) ** gamma + (1 - alpha) * (1 - goal) * p**gamma
    return weight * binary_entropy(p, goal)


def dice(p, goal, eps):
    return 1 - (2 * (p * goal).sum() + eps) / (p.sum() + goal.sum() + eps)


COSTS = {
    'class': (
        dict(type='ClassificationCost', weight=2.0),
        lambda p, goal, logits, label: -2 * logits.softmax(0)[label],
    ),
    'focal class': (
        dict(type='FocalLossCost', weight=3.0),
        lambda p, goal, logits, label: (
            3
            * (
                focal(logits[label].sigmoid(), torch.tensor(1.0))
                - focal(logits[label].sigmoid(), torch.tensor(0.0))
            )
        ),
    ),
    'focal mask': (
        dict(type='FocalLossCost', weight=20.0, binary_input=True),
        lambda p, goal, logits, label: 20 * focal(p, goal).mean(),
    ),
    'dice': (
        dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0),
        lambda p, goal, logits, label: 5 * dice(p, goal, 1.0),
    ),
    'dice of probabilities': (
        dict(type='DiceCost', weight=5.0, eps=1.0),
        lambda p, goal, logits, label: 5 * dice(p, goal, 1.0),
    ),
    'entropy': (
        dict(type='CrossEntropyLossCost', weight=5.0),
        lambda p, goal, logits, label: 5 * binary_entropy(p, goal).mean(),
    ),
}


def slow_costs(prediction, image, target, kind, names):
    masks, labeled = slow.one_hot_masks(target, prediction.mask_logits.shape[-2:])
    probability = mask_probabilities(prediction, image, kind)[:, labeled]
    logits = prediction.class_logits[image].double()
    table = torch.zeros(len(logits), len(masks), dtype=torch.float64)
    for n, k in itertools.product(*map(range, table.shape)):
        for name in names:
            table[n, k] += COSTS[name][1](
                probability[n], masks[k][labeled], logits[n], int(target.labels[k])
            )
    return table


def least_total(costs):
    """The smallest sum of a matching of the rows with the columns, of all matchings."""
    table = costs.detach()
    table = (table if table.shape[0] >= table.shape[1] else table.t()).tolist()
    return min(
        sum(table[n][k] for k, n in enumerate(chosen))
        for chosen in itertools.permutations(range(len(table)), len(table[0]))
    )


@pytest.mark.parametrize('kind', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('names', [[name] for name in COSTS] + [['class', 'entropy', 'dice']])
def test_matching_minimizes_the_sum_of_the_costs(names, kind):
    prediction, targets = batch(numbers=(4, 7))  # the second image has more segments than centers
    assigner = PanopticMatchCostAssigner(
        match_costs=[COSTS[name][0] for name in names], mask_probability=kind
    )
    match = assigner(prediction, targets)
    for i, target in enumerate(targets):
        costs = slow_costs(prediction, i, target, kind, names)
        segments = (match.centers[i] >= 0).nonzero()[:, 0]
        centers = match.centers[i, segments]
        assert len(segments) == len(centers.unique()) == min(costs.shape)
        assert costs[centers, segments].sum().item() == pytest.approx(least_total(costs), abs=1e-5)
        probability, dices, void_share = slow.similarity(
            prediction.mask_logits[i], prediction.class_logits[i], target
        )
        for ours, theirs in (
            (match.probability[i, segments], probability[centers, segments]),
            (match.dice[i, segments], dices[centers, segments]),
            (match.void_share[i], void_share),
        ):
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-7)


def test_costs_see_neither_void_nor_padding():
    prediction, targets = batch()
    outside = torch.stack(
        [~slow.one_hot_masks(target, (9, 9))[1].view(1, 9, 9) for target in targets]
    )
    other = replace(
        prediction,
        mask_logits=torch.where(outside, 9 * torch.randn(2, 6, 9, 9), prediction.mask_logits),
    )
    assigner = PanopticMatchCostAssigner(match_costs=[COSTS[name][0] for name in COSTS])
    a, b = (assigner(x, targets).centers for x in (prediction, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, PanopticHungarianAssigner()(prediction, targets).centers)


def test_images_without_segments_and_segments_without_pixels_are_not_matched():
    prediction, _ = batch()
    targets = [slow.make_target(0), slow.make_target(3, seed=1)]
    targets[1].index[targets[1].index == 2] = -1
    match = PanopticCriterion(num_classes=6, **MASK2FORMER).assigner(prediction, targets)
    assert (match.centers[0] == -1).all()
    assert [center >= 0 for center in match.centers[1].tolist()] == [True, True, False, False]


@pytest.mark.parametrize('exponents', [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0), (0.0, 1.0)])
def test_exponents_of_our_own_similarity(exponents):
    prediction, targets = batch(num_centers=6, numbers=(5, 6))
    match = PanopticHungarianAssigner(class_exponent=exponents[0], dice_exponent=exponents[1])(
        prediction, targets
    )
    for i, target in enumerate(targets):
        probability, dices, _ = slow.similarity(
            prediction.mask_logits[i], prediction.class_logits[i], target
        )
        score = probability ** exponents[0] * dices ** exponents[1]
        columns = torch.arange(score.shape[1])
        chosen = match.centers[i, columns]
        assert -score[chosen, columns].sum().item() == pytest.approx(least_total(-score), abs=1e-6)


def test_default_exponents_change_no_bit():
    probability, dices = torch.rand(2, 3, 40, 20)
    score = PanopticHungarianAssigner().score(None, None, probability, dices)
    assert torch.equal(score, probability * dices)


def test_log_odds_of_a_softmax_are_exact_where_it_is_rounded_to_one():
    logits = torch.tensor([[0.0, 60.0, 6e4, 3.0], [1.0, 0.0, -6e4, 3.0], [2.0, -1.0, 0.0, 3.0]])
    logits.requires_grad_()
    odds = softmax_log_odds(logits)
    wide = logits.detach().double()
    expected = torch.stack(
        [wide[n] - wide[[m for m in range(3) if m != n]].logsumexp(0) for n in range(3)]
    )
    torch.testing.assert_close(odds.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(odds[:, [0, 3]].sigmoid(), logits[:, [0, 3]].softmax(0))
    # A center that is wrong with all certainty still learns.
    (gradient,) = torch.autograd.grad(odds[0, 1], logits)
    assert gradient[0, 1] == pytest.approx(1) and torch.isfinite(gradient).all()


def pairs(match, targets):
    return [slow.pairs_of(match, i, target, (9, 9)) for i, target in enumerate(targets)]


def slow_mask_loss(prediction, targets, match, kind, function):
    """``function(p, goal)`` gives the loss of the matched masks (M, P) of an image."""
    values = []
    for i, chosen in enumerate(pairs(match, targets)):
        if not chosen:
            values.append(torch.tensor(0.0).double())
            continue
        masks, _ = slow.one_hot_masks(targets[i], (9, 9))
        goal = torch.stack([masks[k] for _, k in chosen])
        kept = goal.sum(0) > 0
        p = mask_probabilities(prediction, i, kind)[[n for n, _ in chosen]]
        values.append(function(p[:, kept], goal[:, kept]))
    return torch.stack(values).mean()


MASK_LOSSES = {
    'dice': (
        dict(type='DiceLoss', naive_dice=True, eps=1.0),
        lambda p, goal: torch.stack([dice(*row, 1.0) for row in zip(p, goal)]).mean(),
    ),
    'dice of probabilities': (
        dict(type='DiceLoss', naive_dice=True, eps=1.0, activate=False),
        lambda p, goal: torch.stack([dice(*row, 1.0) for row in zip(p, goal)]).mean(),
    ),
    'focal': (dict(type='FocalLoss'), lambda p, goal: focal(p, goal).mean()),
    'entropy': (
        dict(type='CrossEntropyLoss', use_sigmoid=True),
        lambda p, goal: binary_entropy(p, goal).mean(),
    ),
}


@pytest.mark.parametrize('kind', ['softmax', 'sigmoid'])
@pytest.mark.parametrize('name', MASK_LOSSES)
@pytest.mark.parametrize('numbers', [(4, 3), (7, 0)])
def test_mask_losses(name, kind, numbers):
    prediction, targets = batch(numbers=numbers)
    config, function = MASK_LOSSES[name]
    match = PanopticHungarianAssigner()(prediction, targets)
    loss = PanopticMaskLoss(loss=config, mask_probability=kind, loss_weight=2.0)
    value = loss(prediction, targets, match)['loss']
    expected = 2 * slow_mask_loss(prediction, targets, match, kind, function)
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)
    ours, theirs = (torch.autograd.grad(x, prediction.mask_logits)[0] for x in (value, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    assert (ours[0] != 0).any() and (numbers[1] > 0 or (ours[1] == 0).all())


def test_mask_losses_on_drawn_points():
    prediction, targets = batch()
    match = PanopticHungarianAssigner()(prediction, targets)
    config = dict(type='CrossEntropyLoss', use_sigmoid=True)
    every = PanopticMaskLoss(loss=config)(prediction, targets, match)['loss']
    drawn = PanopticMaskLoss(loss=config, num_points=10)
    values = [
        drawn(prediction, targets, match, torch.Generator().manual_seed(seed))['loss']
        for seed in range(100)
    ]
    again = drawn(prediction, targets, match, torch.Generator().manual_seed(0))['loss']
    assert values[0] == again != values[1]
    assert float(torch.stack(values).mean()) == pytest.approx(float(every), rel=0.1)


def slow_class_loss(prediction, targets, match, function, void_weight):
    """``function(logits, label)`` gives the loss of one center."""
    values = []
    for i, chosen in enumerate(pairs(match, targets)):
        segment_of = dict(chosen)
        total = weights = 0
        for n, logits in enumerate(prediction.class_logits[i].double()):
            void = n not in segment_of
            label = 6 if void else int(targets[i].labels[segment_of[n]])
            weight = void_weight if void else 1
            total, weights = total + weight * function(logits, label), weights + weight
        values.append(total / weights)
    return torch.stack(values).mean()


def one_hot(label):
    return torch.eye(7, dtype=torch.float64)[label]


CLASS_LOSSES = {
    'entropy': (dict(type='CrossEntropyLoss'), lambda logits, label: -logits.log_softmax(0)[label]),
    'binary': (
        dict(type='CrossEntropyLoss', use_sigmoid=True),
        lambda logits, label: binary_entropy(logits.sigmoid(), one_hot(label)).sum(),
    ),
    'focal': (
        dict(type='FocalLoss'),
        lambda logits, label: focal(logits.sigmoid(), one_hot(label)).sum(),
    ),
}


@pytest.mark.parametrize('name', CLASS_LOSSES)
@pytest.mark.parametrize('numbers', [(4, 3), (7, 0)])
def test_class_losses(name, numbers):
    prediction, targets = batch(numbers=numbers)
    config, function = CLASS_LOSSES[name]
    match = PanopticHungarianAssigner()(prediction, targets)
    value = PanopticClassLoss(loss=config, void_weight=0.1)(prediction, targets, match)['loss']
    expected = slow_class_loss(prediction, targets, match, function, 0.1)
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=1e-6)
    ours, theirs = (torch.autograd.grad(x, prediction.class_logits)[0] for x in (value, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    assert (ours != 0).flatten(1).any(1).all()


def test_class_weight_of_the_loss_and_void_weight_are_the_same_for_void():
    prediction, targets = batch()
    match = PanopticHungarianAssigner()(prediction, targets)
    own = PanopticClassLoss(loss=dict(type='CrossEntropyLoss', class_weight=[1.0] * 6 + [0.1]))
    other = PanopticClassLoss(loss=dict(type='CrossEntropyLoss'), void_weight=0.1)
    torch.testing.assert_close(*(x(prediction, targets, match)['loss'] for x in (own, other)))


def test_a_class_loss_of_the_user_gets_each_image_with_plain_weights():
    class Hardest(nn.Module):
        """The mean of the two centers with the highest loss; its weights are a tensor."""

        class_weight = torch.ones(7)

        def forward(self, pred, label, weight, avg_factor):
            assert avg_factor == weight.sum() and set(weight.tolist()) <= {0.5, 1}
            entropy = nn.functional.cross_entropy(pred, label, reduction='none')
            return (weight * entropy).topk(2).values.mean()

    prediction, targets = batch(numbers=(4, 0))
    match = PanopticHungarianAssigner()(prediction, targets)
    loss = PanopticClassLoss(loss=Hardest(), void_weight=0.5)
    both = loss(prediction, targets, match)['loss']
    single = [slow.one_image(prediction, i) for i in (0, 1)]
    matches = [PanopticHungarianAssigner()(one, [own]) for one, own in zip(single, targets)]
    alone = [loss(one, [own], found)['loss'] for one, own, found in zip(single, targets, matches)]
    torch.testing.assert_close(both, sum(alone) / 2)


def test_the_criterion_of_mask2former():
    prediction, targets = batch()
    criterion = PanopticCriterion(num_classes=6, **MASK2FORMER)
    found = criterion([prediction], targets)
    match = criterion.assigner(prediction, targets)
    for i, target in enumerate(targets):
        costs = slow_costs(prediction, i, target, 'softmax', ['class', 'entropy', 'dice'])
        columns = torch.arange(len(target.labels))
        total = costs[match.centers[i, columns], columns].sum().item()
        assert total == pytest.approx(least_total(costs), 1e-5)
    entropy, binary = CLASS_LOSSES['entropy'][1], MASK_LOSSES['entropy'][1]
    expected = dict(
        loss_cls=2 * slow_class_loss(prediction, targets, match, entropy, 0.1),
        loss_mask=5 * slow_mask_loss(prediction, targets, match, 'softmax', binary),
        loss_dice=5 * slow_mask_loss(prediction, targets, match, 'softmax', MASK_LOSSES['dice'][1]),
    )
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-4, atol=1e-6)


def test_two_processes_equal_one():
    prediction, targets = batch(numbers=(5, 2))
    criterion = PanopticCriterion(num_classes=6, **MASK2FORMER)
    both = criterion([prediction], targets)
    single = [criterion([slow.one_image(prediction, i)], targets[i : i + 1]) for i in (0, 1)]
    for name, value in both.items():
        torch.testing.assert_close(value, (single[0][name] + single[1][name]) / 2)


@pytest.mark.parametrize('numbers', [(0, 0), (3, 0), (9, 2)])
def test_losses_and_gradients_are_finite_for_half_precision_and_large_logits(numbers):
    prediction, targets = batch(numbers=numbers)
    half = replace(
        prediction,
        mask_logits=(prediction.mask_logits * 5e3).detach().half().requires_grad_(),
        class_logits=(prediction.class_logits * 5e3).detach().half().requires_grad_(),
    )
    focal_losses = dict(
        focal_mask=dict(type='PanopticMaskLoss', loss=dict(type='FocalLoss')),
        focal_class=dict(type='PanopticClassLoss', loss=dict(type='FocalLoss')),
    )
    losses = {**MASK2FORMER['losses'], **focal_losses}
    criterion = PanopticCriterion(num_classes=6, assigner=MASK2FORMER['assigner'], losses=losses)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        found = criterion([half], targets)
    assert all(torch.isfinite(value) for value in found.values())
    sum(found.values()).backward()
    assert torch.isfinite(half.mask_logits.grad).all()
    assert torch.isfinite(half.class_logits.grad).all()
    assert (half.mask_logits.grad != 0).any() == (max(numbers) > 0)


def test_parts_of_mmdet_are_adapted_by_name_and_by_class():
    prediction, targets = batch()
    dices = dict(loss_weight=3.0, naive_dice=True)
    costs = [dict(type='DiceCost', pred_act=True)]
    values = [
        PanopticCriterion(
            num_classes=6,
            assigner=dict(type=assigner, match_costs=given),
            losses=dict(dice=dict(type=loss, **dices)),
        )([prediction], targets)
        for assigner, given, loss in (
            ('HungarianAssigner', costs, 'DiceLoss'),
            ('mmdet.HungarianAssigner', costs[0], 'mmdet.DiceLoss'),
            (HungarianAssigner, costs, DiceLoss),
            (PanopticMatchCostAssigner, costs, 'DiceLoss'),
        )
    ]
    assert all(value == values[0] and list(value) == ['loss_dice'] for value in values)


def test_one_line_changes_the_weight_of_an_adapted_loss():
    prediction, targets = batch()
    direct = dict(type='DiceLoss')
    explicit = dict(type='PanopticMaskLoss', loss=direct)
    for config in (direct, explicit):
        one, five = (
            PanopticCriterion(num_classes=6, losses=dict(dice=given))([prediction], targets)
            for given in (config, dict(config, loss_weight=5.0))
        )
        torch.testing.assert_close(5 * one['loss_dice'], five['loss_dice'])


def test_an_assigner_and_a_cost_of_the_user():
    class Neighbors:
        """Gives center k to segment k."""

        def __call__(self, prediction, targets):
            match = PanopticHungarianAssigner()(prediction, targets)
            centers = torch.arange(match.centers.shape[1]).expand_as(match.centers)
            return replace(match, centers=torch.where(match.centers < 0, -1, centers))

    class Distance:
        def __call__(self, pred_instances, gt_instances, img_meta=None):
            areas = [x.masks.sum(1) for x in (pred_instances, gt_instances)]
            return (areas[0][:, None] - areas[1]).abs()

    prediction, targets = batch()
    criterion = PanopticCriterion(num_classes=6, assigner=dict(type=Neighbors))
    assert isinstance(criterion.assigner(prediction, targets), MatchResult)
    assert criterion([prediction], targets)['loss_mask_id'] > 0
    costs = [dict(type=Distance), dict(type='DiceCost')]
    PanopticCriterion(num_classes=6, assigner=dict(type='HungarianAssigner', match_costs=costs))(
        [prediction], targets
    )
