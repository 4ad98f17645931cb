"""What does not fit a slot of the model is refused when the model is built, with its key."""

import re
from copy import deepcopy

import pytest
from cmt_deeplab.criterion import PanopticLoss
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.transformer import CMTLayer
from cmt_deeplab.parts import build_part
from mmdet.models import ResNet
from mmdet.registry import MODELS
from small_model import COMPLETE, set_in
from torch import nn

SLOTS = (
    'model.data_preprocessor',
    'model.backbone',
    'model.panoptic_head',
    'model.panoptic_head.pixel_decoder',
    'model.panoptic_head.transformer_decoder',
    'model.panoptic_head.transformer_decoder.layer',
    'model.panoptic_head.predictor',
    'model.panoptic_head.semantic_head',
    'model.criterion',
    'model.criterion.assigner',
    'model.criterion.losses.pq',
    'model.postprocess',
)
WRONG = {
    'a word': 'PanopticResNet',
    'a number': 7,
    'a list of numbers': [7],
    'a dict without a type': dict(depth=18),
    'a type that is not known': dict(type='NoSuchPart'),
    'a type that is no name': dict(type=7),
    'a hook': dict(type='CheckpointHook'),
    'a loss of mmdet for boxes': dict(type='IoULoss'),
    'an activation by its class': dict(type=nn.ReLU),
}
HEAD = 'model.panoptic_head'
DECODER = f'{HEAD}.transformer_decoder'


def build_with(slot: str, value: object) -> nn.Module:
    """The model with ``value`` at a key of its config."""
    config = dict(model=deepcopy(COMPLETE))
    set_in(config, slot, value)
    return MODELS.build(config['model'])


def at(slot: str) -> dict:
    """The part of the complete model in a slot."""
    part = dict(model=COMPLETE)
    for key in slot.split('.'):
        part = part[key]
    return part


def sentence_of(slot: str, value: object) -> str:
    """What the model says to ``value`` at a key of its config."""
    with pytest.raises(UserError) as error:
        build_with(slot, value)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_the_complete_model_is_built():
    assert isinstance(build_with('model.num_things_classes', 3), nn.Module)


@pytest.mark.parametrize('slot', SLOTS)
@pytest.mark.parametrize('wrong', WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused_with_its_key(slot, wrong):
    assert slot in sentence_of(slot, wrong)


@pytest.mark.parametrize('slot', SLOTS)
def test_a_key_that_nothing_takes_is_blamed_on_the_class_of_the_config(slot):
    part = at(slot)
    sentence = sentence_of(slot, dict(part, no_such_key=1))
    assert f"{slot} gives {part['type']} the key 'no_such_key'" in sentence
    assert '_delete_=True' in sentence


@pytest.mark.parametrize(
    'slot, value, words',
    [
        # of other classes of mmdet, whose keys the model gives or the user has left over
        (f'{HEAD}.pixel_decoder.type', 'ResNet', 'ResNet'),
        ('model.postprocess', dict(type='MaskFormerFusionHead'), 'PanopticMaskWiseMerge'),
        ('model.criterion.losses.pq', dict(type='GIoULoss'), 'PanopticLoss fits'),
        # set by the user in a part, though the model gives them
        (f'{HEAD}.num_classes', 7, 'set once, by model.num_things_classes'),
        (f'{DECODER}.layer.align_corners', False, 'set once, in model.align_corners'),
        (f'{HEAD}.semantic_head.in_channels', [1, 2], 'the widths of the features'),
        # values that a constructor refuses in its own words
        ('model.backbone', dict(type='ResNet', depth=20), r'backbone \(ResNet\).*invalid depth 20'),
        ('model.backbone', dict(type='ResNet', depth=18, out_indices=(4,)), 'backbone.out_indices'),
        ('model.backbone', dict(type='ResNet', depth=18, out_indices=4), 'backbone.out_indices'),
        (
            'model.backbone',
            dict(type='ResNet', depth=18, norm_cfg=dict(type='BNN')),
            '.type is .BNN',
        ),
        (
            f'{HEAD}.pixel_decoder.norm_cfg',
            dict(type='GN', num_groups=8, momentum=0.1),
            "norm_cfg gives GN the key 'momentum'.*_delete_",
        ),
        (f'{DECODER}.layer.heads', 3, r'transformer_decoder.layer.* multiples of heads 3'),
        (f'{DECODER}.center_channels', 'wide', f'{DECODER}.center_channels is .wide.*a number'),
        (f'{DECODER}.deep_supervision', 'no', 'a truth value'),
        (f'{DECODER}.layers_per_stage', ('one',), 'a list whose entries are each a number'),
        (f'{DECODER}.layers_per_stage', 1, 'a list, not a number'),
        (f'{HEAD}.pixel_decoder.num_blocks', (1.5, 1), 'a whole number'),
    ],
)
def test_the_sentence_says_what_is_wrong(slot, value, words):
    assert re.search(words, sentence_of(slot, value))


def test_an_argument_that_the_model_gives_may_be_written_with_its_value():
    build_with(f'{HEAD}.num_classes', 5)
    build_with(f'{HEAD}.semantic_head.in_channels', (8, 16))


def test_a_part_may_have_its_own_norm():
    model = build_with(f'{HEAD}.pixel_decoder.norm_cfg', dict(type='GN', num_groups=4))
    norms = [type(module) for module in model.panoptic_head.pixel_decoder.modules()]
    assert nn.GroupNorm in norms and nn.BatchNorm2d not in norms


def test_a_subclass_may_set_what_its_parent_needs_or_the_model_gives():
    class R18(ResNet):
        def __init__(self, **kwargs):
            super().__init__(depth=18, **kwargs)

    class WithoutNorm(CMTLayer):
        def __init__(self, **kwargs):
            super().__init__(norm_cfg=None, align_corners=False, **kwargs)

    assert build_part('model.backbone', dict(type=R18, base_channels=8)).depth == 18
    model = build_with(f'{DECODER}.layer', dict(at(f'{DECODER}.layer'), type=WithoutNorm))
    assert model.panoptic_head.transformer_decoder.stages[0][0].common['norm_cfg'] is None
    with pytest.raises(UserError, match="gives R18 the key 'depth', which it does not take"):
        build_part('model.backbone', dict(type=R18, depth=18))
    with pytest.raises(UserError, match="does not give Resnet its 'depth': add it"):
        build_part('model.backbone', dict(type=type('Resnet', (ResNet,), {})))


@pytest.mark.filterwarnings('ignore:.*weight_norm')
def test_parts_of_the_user_that_cannot_be_copied_are_not_tried_out():
    class Loss(PanopticLoss):
        def __init__(self):
            super().__init__()
            self.scale = nn.utils.weight_norm(nn.Linear(1, 1))

        def terms(self, given):
            return dict(loss=self.scale.weight.sum())

    class Layer(CMTLayer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.turn = nn.utils.weight_norm(nn.Linear(1, 1))

    build_with('model.criterion.losses.own', dict(type=Loss))
    build_with(f'{DECODER}.layer', dict(at(f'{DECODER}.layer'), type=Layer))


def test_an_error_in_a_part_of_the_user_keeps_its_trace():
    class Faulty(nn.Module):
        def __init__(self):
            super().__init__()
            self.width = None + 1

        def forward(self, images):
            return images

    with pytest.raises(TypeError, match='unsupported operand'):
        build_part('model.backbone', dict(type=Faulty))


def test_what_a_part_of_the_user_says_itself_is_a_sentence():
    class Picky(nn.Module):
        def __init__(self, *, width):
            super().__init__()
            raise ValueError(f'the width {width} is odd')

        def forward(self, images):
            return images

    with pytest.raises(
        UserError, match=r'model.backbone \(Picky\).*width 3 is odd; correct .*width'
    ):
        build_part('model.backbone', dict(type=Picky, width=3))
