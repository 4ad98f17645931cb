"""Which parts fit as a merge, told when the model is built."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.parts import build_part
from cmt_deeplab.postprocess import PanopticMerge, PanopticResult, tried_merge
from mmdet.models import MaskFormerFusionHead
from torch import nn

CLASSES = dict(num_things_classes=3, num_stuff_classes=2)


def build(**config):
    return build_part(
        'model.postprocess', config, adapt=lambda part: tried_merge(part, 5), **CLASSES
    )


class Whole(nn.Module):
    """The whole image belongs to the best center; its constructor takes what the code gives."""

    def __init__(self, num_things_classes, num_stuff_classes, result=PanopticResult):
        super().__init__()
        self.result = result

    def forward(
        self, mask_logits, class_logits, *, input_size, image_size, output_size, align_corners
    ):
        label = int(class_logits[:, :-1].amax(0).argmax())
        return self.result(torch.full(tuple(output_size), label, dtype=torch.int32), [])


class OwnMerge(PanopticMerge):
    def is_candidate(self, confidence, label):
        return confidence >= 2  # none

    def merge(self, table, confidence, label, geometry):
        raise AssertionError('never called')


@pytest.mark.parametrize(
    'config',
    [
        dict(type='MaskFormerFusionHead'),
        dict(type=MaskFormerFusionHead, test_cfg=dict(panoptic_on=True)),
        dict(type='HeuristicFusionHead'),
        dict(type='ResNet', depth=18),
        dict(type='PanopticPQLoss'),
    ],
)
def test_other_parts_are_refused(config):
    with pytest.raises(UserError, match=r'model\.postprocess is .*PanopticMaskWiseMerge'):
        build(**config)


@pytest.mark.parametrize(
    ('config', 'sentence'),
    [
        (dict(type='PanopticMaskWiseMerge', thing_threshold=70), 'thing_threshold=70'),
        (dict(type=PanopticMerge), 'postprocess: PanopticMerge has no method is_candidate'),
        (dict(type='PanopticMaskWiseMerge', stuff_threshold='0.5'), "stuff_threshold.*'0.5'"),
        (dict(type='PanopticMaskWiseMerge', overlap_threshold=-0.1), 'overlap_threshold=-0.1'),
        (dict(type='PanopticMaskWiseMerge', thing_area=-4), 'thing_area=-4'),
        (
            dict(type='PanopticPixelWiseMerge', class_threshold=float('nan')),
            'class_threshold is nan',
        ),
        (dict(type='PanopticPixelWiseMerge', thing_threshold=0.3), '_delete_=True'),
        (dict(type='PanopticMaskWiseMerge', num_things_classes=80), 'num_things_classes is 80'),
    ],
)
def test_settings_that_mean_nothing_are_refused(config, sentence):
    with pytest.raises(UserError, match=sentence):
        build(**config)


def test_merges_of_the_user():
    assert isinstance(build(type=Whole), Whole)
    assert isinstance(build(type=OwnMerge), OwnMerge)
    with pytest.raises(UserError, match='Whole gives a list in place of a PanopticResult'):
        build(type=Whole, result=lambda plane, info: [plane, info])
    with pytest.raises(UserError, match='Whole gives a PanopticResult'):
        build(type=Whole, result=lambda plane, info: PanopticResult(plane[None], info))
