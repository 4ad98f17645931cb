"""What does not fit into the criterion is refused with one sentence when it is built."""

import criterion_slow_reference as slow
import pytest
import torch
from cmt_deeplab.criterion import (
    PanopticCriterion,
    PanopticHungarianAssigner,
    PanopticLoss,
    PanopticMaskIDLoss,
    image_mean,
)
from cmt_deeplab.errors import UserError
from mask2former_criterion import MASK2FORMER
from mmdet.models import FocalLoss, ResNet
from mmdet.registry import MODELS
from small_model import build_small
from torch import nn

ASSIGNERS = [
    (dict(type='SimOTAAssigner'), 'does not fit.*HungarianAssigner'),
    (
        dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.5),
        'does not fit.*HungarianAssigner',
    ),
    (dict(type='TaskAlignedAssigner', topk=13), 'does not fit.*HungarianAssigner'),
    (dict(type='DeltaXYWHBBoxCoder'), 'does not fit.*HungarianAssigner'),
    (dict(type=ResNet, depth=18), 'does not fit.*HungarianAssigner'),
    (dict(type='MaskHungarianAssigner'), r'assigner\.type.*HungarianAssigner meant'),
    (dict(type='PanopticPQLoss'), 'registered'),
    ('HungarianAssigner', 'dict with a type'),
    (dict(type='HungarianAssigner'), "HungarianAssigner its 'match_costs'"),
    (dict(type='HungarianAssigner', match_costs=[]), 'match_costs'),
    (dict(type='HungarianAssigner', match_costs='DiceCost'), r'match_costs\.0.*dict with a type'),
    (dict(type='HungarianAssigner', match_costs=3), r'match_costs\.0.*3.*dict with a type'),
    (dict(type='PanopticMatchCostAssigner', match_costs=[]), 'match_costs is empty'),
    (
        dict(
            type='PanopticMatchCostAssigner',
            match_costs=dict(type='DiceCost'),
            mask_probability='tanh',
        ),
        "mask_probability='tanh'.*'softmax' or 'sigmoid'",
    ),
    (dict(type='PanopticHungarianAssigner', class_exponent=-1), 'class_exponent=-1'),
    (dict(type='PanopticHungarianAssigner', dice_exponent='1'), "dice_exponent.*'1'"),
    (dict(type='PanopticHungarianAssigner', class_exponent=0, dice_exponent=0), 'nothing to match'),
    (dict(type='PanopticHungarianAssigner', cls_exponent=1), "the key 'cls_exponent'"),
]
COSTS = [
    (dict(type='BBoxL1Cost', weight=5.0), 'BBoxL1Cost cannot compare cluster centers.*DiceCost'),
    (dict(type='IoUCost', iou_mode='giou'), 'IoUCost cannot compare cluster centers'),
    (dict(type='BinaryFocalLossCost'), 'BinaryFocalLossCost cannot compare cluster centers'),
    (dict(type='CrossEntropyLossCost', use_sigmoid=False), 'cannot compare cluster centers'),
    (dict(type='PointL1Cost'), r"match_costs\.0\.type is 'PointL1Cost', which is not .*registered"),
    (dict(type='DiceLoss'), r"match_costs\.0\.type is 'DiceLoss', which is not .*registered"),
    (dict(type='DiceCost', smooth=1), r"match_costs\.0 gives DiceCost the key 'smooth'"),
    (dict(weight=1), r'match_costs\.0 has no type'),
    (dict(type='DiceCost', weight=-1.0), r'match_costs\.0: weight=-1'),
    (dict(type='DiceCost', weight=float('nan')), r'match_costs\.0: weight=nan'),
]
BOTH_ADAPTERS = 'PanopticMaskLoss.*FocalLoss.*PanopticClassLoss.*FocalLoss'
LOSSES = [
    *(
        (dict(type=name), f'losses.x: {name} has no meaning on cluster centers.*DiceLoss')
        for name in ('L1Loss', 'SmoothL1Loss', 'GIoULoss', 'MSELoss', 'VarifocalLoss', 'GHMC')
    ),
    (dict(type='FocalLoss'), BOTH_ADAPTERS),
    (dict(type=FocalLoss, loss_weight=20.0), BOTH_ADAPTERS),
    (dict(type='CrossEntropyLoss', use_mask=True), 'losses.x.*use_sigmoid=True'),
    (dict(type='CrossEntropyLoss', class_weight=[1.0] * 6), 'losses.x.*6 entries.*need 7'),
    (dict(type='CrossEntropyLoss', reduction='avg'), 'losses.x.*avg'),
    (dict(type='DiceLoss', reduction='none'), "losses.x.*leave its reduction at 'mean'"),
    (dict(type='DiceLoss', use_sigmoid=False), 'losses.x: DiceLoss does not work'),
    (dict(type='DiceLoss', loss_weight=-2), 'losses.x.*DiceLoss.*loss_weight=-2'),
    (dict(type='ResNet', depth=18), 'losses.x is .*ResNet.*PanopticLoss'),
    (dict(type='PanopticMaskWiseMerge'), 'losses.x'),
    (dict(type='PanopticPQLoss', loss_weight=-1), 'losses.x.*loss_weight=-1'),
    (dict(type='PanopticPQLoss', loss_weight=float('nan')), 'losses.x.loss_weight is nan'),
    (dict(type='PanopticPQLoss', loss_weight='5'), "losses.x.*loss_weight.*'5'"),
    (dict(type='PanopticPQLoss', weight=3), "losses.x gives PanopticPQLoss the key 'weight'"),
    (dict(type='PanopticInstanceDiscriminationLoss', num_samples=0), 'losses.x.*num_samples=0'),
    (dict(type='PanopticInstanceDiscriminationLoss', temperature=0), 'losses.x.*temperature=0'),
    (dict(type='PanopticSemanticLoss', num_samples='all'), "losses.x.*num_samples.*'all'"),
    (dict(type='PanopticSemanticLoss', small_instance_weight=-1), 'losses.x.*weight=-1'),
    (dict(type='PanopticMaskLoss'), "losses.x does not give PanopticMaskLoss its 'loss'"),
    (dict(type='PanopticMaskLoss', loss=dict(type='L1Loss')), 'losses.x.*L1Loss has no meaning'),
    (dict(type='PanopticMaskLoss', loss=dict(type='CrossEntropyLoss')), 'use_sigmoid=True'),
    (dict(type='PanopticMaskLoss', loss='DiceLoss'), r'\.loss is .DiceLoss'),
    (dict(type='PanopticMaskLoss', loss=FocalLoss), r'\.loss is .*FocalLoss.*dict with a type'),
    (dict(type='PanopticMaskLoss', loss=dict(type='DiceLoss'), num_points=-5), 'num_points=-5'),
    (
        dict(type='PanopticMaskLoss', loss=dict(type='DiceLoss'), mask_probability='tanh'),
        "'softmax' or 'sigmoid'",
    ),
    (dict(type='PanopticMaskLoss', loss=dict(type='DiceLoss', smooth=1)), "DiceLoss.*'smooth'"),
    (dict(type='PanopticClassLoss', loss=dict(type='DiceLoss')), 'DiceLoss has no meaning'),
    (
        dict(type='PanopticClassLoss', loss=dict(type='FocalLoss'), void_weight=-1),
        'losses.x.*void_weight=-1',
    ),
    (dict(loss_weight=5.0), 'losses.x has no type.*base config'),
    (5, 'losses.x is 5'),
    ('PanopticPQLoss', 'losses.x is .PanopticPQLoss'),
]
PQ = dict(type='PanopticPQLoss')
DICTS = [
    ([dict(loss_weight=5)], r'a dict by name.*losses=dict\(pq=dict\(loss_weight=5.0\)\)'),
    (None, 'a dict by name'),
    (dict(), 'has no losses'),
    (dict(pq=None, mask_id=None), 'has no losses'),
    (dict(a=PQ, b=PQ), 'losses.b has the term loss_pq_mask, and so has model.criterion.losses.a'),
    ({'a.b': PQ}, 'cannot have the name'),
    (dict(update=PQ), 'cannot have the name'),
    ({'': PQ}, 'cannot have the name'),
    (PQ, 'a dict by name'),
]


def test_assigners_and_costs_that_do_not_fit():
    costs = [(dict(type='HungarianAssigner', match_costs=[cost]), text) for cost, text in COSTS]
    for assigner, sentence in ASSIGNERS + costs:
        with pytest.raises(UserError, match=r'^(model\.criterion\.assigner|Panoptic)') as error:
            PanopticCriterion(num_classes=6, assigner=assigner)
        error.match(sentence)


def test_a_list_of_losses_in_a_config_is_told_how_to_write_it():
    with pytest.raises(UserError, match=r'losses=dict\(pq=dict\(loss_weight=5.0\)\)'):
        build_small(criterion=dict(type='PanopticCriterion', losses=[dict(loss_weight=5)]))


def test_losses_that_do_not_fit():
    for losses, sentence in [(dict(x=loss), text) for loss, text in LOSSES] + DICTS:
        with pytest.raises(UserError, match=r'^model\.criterion\.losses') as error:
            PanopticCriterion(num_classes=6, losses=losses)
        error.match(sentence)


@pytest.mark.parametrize('weight', [-1.0, float('nan'), float('inf'), '1'])
def test_the_weight_of_earlier_stages_is_checked(weight):
    with pytest.raises(UserError, match='deep_supervision_weight'):
        PanopticCriterion(num_classes=6, deep_supervision_weight=weight)


def test_a_loss_of_the_user_needs_one_method():
    class ClassEntropy(PanopticLoss):
        def terms(self, given):
            entropy = -(given.prediction.class_logits.softmax(-1).log_softmax(-1)).sum(-1)
            return dict(loss=image_mean(entropy, torch.ones_like(entropy, dtype=torch.bool)))

    losses = dict(one=dict(type=ClassEntropy), two=dict(type=ClassEntropy, loss_weight=2.0))
    prediction, targets = slow.make_prediction(), [slow.make_target(2)] * 2
    found = PanopticCriterion(num_classes=6, losses=losses)([prediction], targets)
    assert list(found) == ['loss_one', 'loss_two']
    assert found['loss_two'] == 2 * found['loss_one'] > 0


def test_a_loss_with_its_own_forward_is_called_as_it_is():
    class Own(nn.Module):
        reads_semantic_logits = False

        def forward(self, prediction, targets, match, generator):
            return dict(loss=prediction.class_logits.mean() + 0 * match.dice.sum())

    class Twice(PanopticMaskIDLoss):
        def forward(self, *given):
            return dict(loss=2 * super().forward(*given)['loss_mask_id'])

    losses = dict(own=dict(type=Own), twice=dict(type=Twice))
    losses['one'] = dict(type='PanopticMaskIDLoss')
    stages = [slow.make_prediction(seed=seed) for seed in (0, 1)]
    found = PanopticCriterion(num_classes=6, losses=losses)(stages, [slow.make_target(2)] * 2)
    for prefix, stage in zip(('s0.', ''), stages):
        torch.testing.assert_close(found[f'{prefix}loss_own'], stage.class_logits.mean())
        once = found[f'{prefix}loss_mask_id']
        torch.testing.assert_close(found[f'{prefix}loss_twice'], 2 * once)


def loss_class(result, fail=False):
    class Own(PanopticLoss):
        def terms(self, given):
            if fail and given.prediction.mask_logits.shape[1] != 5:
                raise RuntimeError('this loss has one weight for each of 5 centers')
            return result(given.prediction.class_logits.mean())

    return Own


def test_terms_that_would_not_be_trained_are_told():
    for result, sentence in (
        (lambda value: dict(entropy=value), "only terms with 'loss' in their name are trained"),
        (lambda value: value, 'terms of Own are a Tensor in place of a dict'),
        (lambda value: dict(loss=0.0), "gives {'loss': 0.0}: give tensors"),
    ):
        with pytest.raises(UserError, match=rf'model\.criterion\.losses\.own.*{sentence}'):
            losses = dict(own=dict(type=loss_class(result)))
            PanopticCriterion(num_classes=6, losses=losses)


@pytest.mark.parametrize('axes', [(1, 2), (0, 1, 2)])
def test_terms_of_one_stage_where_several_are_promised_are_refused(axes):
    class Own(PanopticLoss):
        joined_by = 'class_logits'

        def terms(self, given):
            return dict(loss=given.prediction.class_logits.mean(axes))

    with pytest.raises(UserError, match=r"losses\.own: Own has joined_by='class_logits'.*\(S, B\)"):
        PanopticCriterion(num_classes=6, losses=dict(own=dict(type=Own)))


def test_a_loss_without_terms_is_refused():
    with pytest.raises(UserError, match='losses.own: Own has no method terms'):
        own = dict(type=type('Own', (PanopticLoss,), {}))
        PanopticCriterion(num_classes=6, losses=dict(own=own))


def test_the_binary_cross_entropy_of_torch_is_that_of_mmdet():
    losses = dict(
        a=dict(type='PanopticMaskLoss', loss=dict(type=nn.BCEWithLogitsLoss)),
        b=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )
    prediction, targets = slow.make_prediction(), [slow.make_target(2)] * 2
    found = PanopticCriterion(num_classes=6, losses=losses)([prediction], targets)
    torch.testing.assert_close(found['loss_a'], found['loss_b'])


def test_a_loss_that_needs_the_sizes_of_the_network_is_not_refused():
    losses = dict(own=dict(type=loss_class(lambda value: dict(loss=value), fail=True)))
    criterion = PanopticCriterion(num_classes=6, losses=losses)
    targets = [slow.make_target(2)] * 2
    assert list(criterion([slow.make_prediction()], targets)) == ['loss_own']
    with pytest.raises(RuntimeError, match='5 centers'):
        criterion([slow.make_prediction(num_centers=4)], targets)


def test_an_assigner_that_gives_something_else_is_refused():
    class Wrong:
        def __call__(self, prediction, targets):
            return [0, 1]

    with pytest.raises(UserError, match='Wrong gives a list in place of a MatchResult'):
        PanopticCriterion(num_classes=6, assigner=dict(type=Wrong))


@pytest.mark.parametrize('costs', [0.5, [len]])
def test_what_an_assigner_of_the_user_calls_match_costs_is_left_to_it(costs):
    class Own(PanopticHungarianAssigner):
        match_costs = costs

    assert PanopticCriterion(num_classes=6, assigner=dict(type=Own)).assigner.match_costs == costs


def test_building_draws_no_random_number_and_leaves_no_trace():
    class Counting(PanopticLoss):
        def __init__(self):
            super().__init__()
            self.register_buffer('calls', torch.zeros(()))

        def terms(self, given):
            self.calls += 1
            return dict(loss=given.prediction.class_logits.mean() + torch.rand(()))

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    criterion = PanopticCriterion(num_classes=6, losses=dict(own=dict(type=Counting)))
    PanopticCriterion(num_classes=6)
    assert torch.equal(torch.rand(3), expected)
    assert criterion.losses.own.calls == 0


def test_building_on_the_meta_device():
    with torch.device('meta'):
        PanopticCriterion(num_classes=6)
        PanopticCriterion(num_classes=6, **MASK2FORMER)


def test_a_loss_with_signature_of_mmdet_but_of_the_user():
    @MODELS.register_module()
    class Brier(nn.Module):
        def forward(self, pred, target):
            return (pred.sigmoid() - target).square().mean()

    losses = dict(own=dict(type='PanopticMaskLoss', loss=dict(type='Brier'), loss_weight=2.0))
    prediction, targets = slow.make_prediction(), [slow.make_target(2)] * 2
    found = PanopticCriterion(num_classes=6, losses=losses)([prediction], targets)
    assert found['loss_own'] > 0
    MODELS.module_dict.pop('Brier')


def head(semantic=None, points=False):
    part, layer = nn.Module(), nn.Module()
    layer.reference_mask = nn.Identity() if points else None
    part.semantic_head, part.layer = semantic, layer
    return part


def test_losses_that_the_head_gives_nothing_for():
    semantic, points = (
        dict(type=name) for name in ('PanopticSemanticLoss', 'PanopticReferencePointLoss')
    )
    for losses, reason in (
        (dict(a=semantic), r'losses\.a computes nothing.*semantic_head is None'),
        (dict(b=points), r'losses\.b computes nothing.*reference_mask=True'),
        (dict(a=semantic, b=points), r'losses\.a computes nothing'),
    ):
        with pytest.raises(UserError, match=reason):
            PanopticCriterion(num_classes=6, losses=losses).compare_with_head(head())


@pytest.mark.parametrize(
    ('given', 'losses', 'sentence'),
    [
        (head(nn.Identity(), True), dict(a='PanopticSemanticLoss', b='PanopticPQLoss'), None),
        (head(), dict(a='PanopticSemanticLoss', b='PanopticPQLoss'), 'losses.a computes nothing'),
        (head(), dict(a='PanopticReferencePointLoss', b='PanopticPQLoss'), 'reference_mask=True'),
        (head(nn.Identity()), dict(b='PanopticPQLoss'), 'semantic_head is trained by no loss'),
    ],
)
def test_what_is_idle_is_logged(given, losses, sentence, monkeypatch):
    said = []
    monkeypatch.setattr(
        'cmt_deeplab.criterion.config.print_log', lambda text, *rest: said.append(text)
    )
    losses = {key: dict(type=name) for key, name in losses.items()}
    PanopticCriterion(num_classes=6, losses=losses).compare_with_head(given)
    assert [sentence in text for text in said] == ([True] if sentence else [])
