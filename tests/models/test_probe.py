"""What the detector finds out about a backbone, and what it says of one that does not fit."""

import ast
import importlib.util
import re
from copy import deepcopy

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.detectors.probe import probe_backbone
from mmdet.registry import MODELS
from small_model import build_small
from torch import nn

needs_timm = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason='the optional package timm is not installed'
)


def _hrnet_stage(branches: int, block: str = 'BASIC') -> dict:
    channels = tuple(8 * 2**i for i in range(branches))
    return dict(
        num_modules=1,
        num_branches=branches,
        block=block,
        num_blocks=(1,) * branches,
        num_channels=channels,
    )


HRNET = dict(
    type='HRNet',
    extra={f'stage{i}': _hrnet_stage(i, 'BOTTLENECK' if i == 1 else 'BASIC') for i in range(1, 5)},
)
CSP = dict(type='CSPDarknet', deepen_factor=0.33, widen_factor=0.125, out_indices=(1, 2, 3, 4))
PVT = dict(type='PyramidVisionTransformer', num_layers=[1, 1, 1, 1], embed_dims=8)
RESNET = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
TIMM_SWIN = dict(
    type='TimmBackbone',
    model_name='swin_tiny_patch4_window7_224',
    embed_dim=8,
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 2, 2),
)


def probed(config: dict, size, align_corners: bool):
    backbone = MODELS.build(config)
    return probe_backbone(backbone, config, size=size, align_corners=align_corners)


@pytest.mark.parametrize('align_corners, side', [(False, 96), (True, 97)])
@pytest.mark.parametrize(
    'config, strides',
    [
        (dict(RESNET, out_indices=(1, 2, 3)), (8, 16, 32)),
        (dict(RESNET, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2)),
         (4, 8, 16)),
        (dict(RESNET, strides=(1, 2, 2, 1)), (4, 8, 16, 16)),
        (dict(type='AxialResNet', num_blocks=(1, 1, 1, 1), width=0.125, with_stem_output=True),
         (2, 4, 8, 16, 32)),
        (dict(type='PyramidVisionTransformerV2', num_layers=[1] * 4, embed_dims=8),
         (4, 8, 16, 32)),
        pytest.param(dict(type='TimmBackbone', model_name='resnet10t'), (4, 8, 16, 32),
                     marks=needs_timm),
    ],
)  # fmt: skip
def test_widths_and_strides(config, strides, align_corners, side):
    backbone = MODELS.build(config)
    found = probe_backbone(backbone, config, size=(side, side), align_corners=align_corners)
    backbone.eval()
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, side, side))
    assert found.strides == strides
    assert found.channels == tuple(feature.shape[1] for feature in features)
    assert probe_backbone(backbone, config, size=None, align_corners=align_corners) == found


@pytest.mark.parametrize('config', [HRNET, CSP, PVT])
def test_a_backbone_for_even_sides_is_told_to_leave_corners_alone(config):
    assert probed(config, (96, 96), False).strides == (4, 8, 16, 32)
    with pytest.raises(UserError, match='inputs of 97x97 pixels') as caught:
        probed(config, (97, 97), True)
    assert str(caught.value).endswith(
        'it fits with model.align_corners=False and model.data_preprocessor.size=(96, 96), which '
        'is the image_size of the data sets too.'
    )
    with pytest.raises(UserError, match=r'; it fits with model.align_corners=False\.$'):
        probed(config, None, True)


@needs_timm
@pytest.mark.parametrize(
    'size, align_corners', [((96, 96), False), ((97, 129), True), (None, True)]
)
@pytest.mark.parametrize(
    'config', [TIMM_SWIN, dict(type='TimmBackbone', model_name='mobilevitv2_050')]
)
def test_the_remedy_for_a_model_of_timm_is_one(config, size, align_corners):
    with pytest.raises(UserError, match='model.backbone .TimmBackbone') as caught:
        probed(config, size, align_corners)
    keys = {
        key: ast.literal_eval(value)
        for key, value in re.findall(
            r'model\.(\S+)=(False|\(.*?\))', str(caught.value).split(';')[-1]
        )
    }
    changed = dict(config)
    if 'backbone.img_size' in keys:
        changed['img_size'] = keys['backbone.img_size']
    size = keys.get('data_preprocessor.size', size)
    assert probed(changed, size, keys.get('align_corners', align_corners)).strides == (4, 8, 16, 32)


@needs_timm
def test_channels_last_features_of_timm_are_brought_into_order():
    backbone = MODELS.build(dict(TIMM_SWIN, img_size=64)).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        for feature, last in zip(backbone(x), backbone.model(x)):
            torch.testing.assert_close(feature, last.permute(0, 3, 1, 2))
    assert [feature.shape[1] for feature in backbone(x)] == [8, 16, 32, 64]


class Scripted(nn.Module):
    """A backbone whose output is that of a function of its module and the images."""

    def __init__(self, output) -> None:
        super().__init__()
        self.norm, self.output = nn.BatchNorm2d(3), output

    def forward(self, x):
        return self.output(self, self.norm(x))


def _level(x, stride):
    return nn.functional.avg_pool2d(x, stride)


@pytest.mark.parametrize(
    'output, message',
    [
        (lambda module, x: _level(x, 4), 'gives a Tensor and no tuple of feature maps'),
        (lambda module, x: dict(a=_level(x, 4)), 'gives a dict and no tuple'),
        (lambda module, x: (), 'gives no feature maps'),
        (lambda module, x: (_level(x, 4), dict()), 'gives a dict and no map'),
        (lambda module, x: (_level(x, 4).flatten(2),), r'Tensor \(2, 3, 576\) and no map'),
        (lambda module, x: (_level(x, 8), _level(x, 4)), r'\[8, 4\], which are not fine to coarse'),
        (lambda module, x: (_level(x, 5),), 'a map of 19x19 pixels, which is side / stride for no'),
        (lambda module, x: (_level(x, (4, 8)),), 'a map of 24x12 pixels'),
        (lambda module, x: (_level(x.repeat(1 + module.training, 1, 1, 1), 4),),
         'another shape in training than in evaluation'),
        (lambda module, x: (_level(x.relu_(2), 4),), 'fails with "TypeError'),
    ],
)  # fmt: skip
def test_other_outputs_are_refused_by_name(output, message):
    with pytest.raises(UserError, match=f'model.backbone .Scripted. does not fit: .*{message}'):
        probe_backbone(Scripted(output), {}, size=(96, 96), align_corners=False)


@pytest.mark.parametrize('on_meta', [True, False])
def test_the_probe_leaves_no_trace(on_meta):
    """Statistics, modes, random numbers and caches stay, also where 'meta' is no help."""

    def output(module, x):
        module.last = module.seen[x.shape] = x
        float(x.mean()) if not on_meta else None  # a value, which 'meta' does not have
        return (nn.functional.dropout(_level(x, 4), training=module.training),)

    backbone = Scripted(output)
    backbone.seen, backbone.last = {}, None
    backbone.norm.eval()
    state, mode = deepcopy(backbone.state_dict()), torch.get_rng_state()
    found = probe_backbone(backbone, {}, size=(96, 64), align_corners=False)
    assert found == ((3,), (4,))
    assert backbone.training and not backbone.norm.training
    assert backbone.seen == {} and backbone.last is None
    assert torch.equal(mode, torch.get_rng_state())
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, state[name])


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(norm_cfg=dict(type='LN')),
            'model.backbone.norm_cfg.type is LayerNorm.*PanopticLayer',
        ),
        (dict(norm_cfg=dict(type='BatchNorm')), "model.backbone.norm_cfg.type is 'BatchNorm'"),
        (dict(frozen_stages=7), 'model.backbone.frozen_stages is 7, which ResNet refuses'),
        (dict(depth=19), 'correct model.backbone.depth'),
    ],
)
def test_the_key_is_named_that_is_to_blame(changes, message):
    with pytest.raises(UserError, match=message):
        build_small(backbone=dict(RESNET, **changes))


def test_a_neck_stands_between_backbone_and_head():
    neck = dict(type='FPN', out_channels=8, num_outs=4)
    model = build_small(neck=neck, align_corners=False)
    x = torch.randn(1, 3, 64, 64)
    model.eval()
    with torch.no_grad():
        features = model.extract_feat(x)
        assert [tuple(f.shape[1:]) for f in features] == [
            (8, 16, 16),
            (8, 8, 8),
            (8, 4, 4),
            (8, 2, 2),
        ]
        model._forward(x)
