"""mmdet's pixel decoders and necks, given directly as pixel decoder."""

from contextlib import nullcontext

import pytest
import torch
from cmt_deeplab.compat import CompiledOpMissing
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import stride_between
from cmt_deeplab.models.pixel_decoders import AdaptedNeck, build_pixel_decoder
from cmt_deeplab.renamed import rename_weights
from mmdet.models import FPN
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from small_model import small_config
from torch import nn

WIDTHS, STRIDES = [8, 16, 24, 32], [4, 8, 16, 32]
GN = dict(type='GN', num_groups=8)
BN = dict(type='BN')
FFN = dict(
    embed_dims=16, feedforward_channels=16, num_fcs=2, act_cfg=dict(type='ReLU', inplace=True)
)
POSITIONS = dict(num_feats=8, normalize=True)


def transformer(**attention) -> dict:
    attention = dict(embed_dims=16, num_heads=4, batch_first=True, **attention)
    return dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=FFN))


DEFORMABLE = dict(
    type='MSDeformAttnPixelDecoder',
    feat_channels=16,
    out_channels=16,
    norm_cfg=GN,
    encoder=transformer(num_levels=3, num_points=4),
    positional_encoding=POSITIONS,
)
RETINA = dict(type='FPN', out_channels=16, start_level=1, add_extra_convs='on_output', num_outs=5)
POST = dict(norm_cfg=BN, inplace=False, order=('act', 'conv', 'norm'))
NECKS = dict(
    deformable=DEFORMABLE,
    deformable_by_scope=dict(DEFORMABLE, type='mmdet.MSDeformAttnPixelDecoder', strides=STRIDES),
    plain=dict(type='PixelDecoder', feat_channels=16, out_channels=16, norm_cfg=GN),
    encoder=dict(
        type='TransformerEncoderPixelDecoder',
        feat_channels=16,
        out_channels=16,
        norm_cfg=GN,
        encoder=transformer(),
        positional_encoding=POSITIONS,
    ),
    fpn=dict(type='FPN'),
    fpn_by_class=dict(type=FPN, in_channels=WIDTHS, out_channels=16, num_outs=5),
    fpn_retina=RETINA,
    pafpn=dict(type='PAFPN', out_channels=16, norm_cfg=BN),
    libra=[dict(type='FPN', out_channels=16, num_outs=5), dict(type='BFP', num_levels=5)],
    nasfpn=dict(type='NASFPN', out_channels=16, num_outs=5, stack_times=1, start_level=1),
    nasfcos=dict(type='NASFCOS_FPN', out_channels=16, num_outs=5, add_extra_convs=True),
    fpg=dict(
        type='FPG',
        out_channels=16,
        inter_channels=16,
        num_outs=5,
        stack_times=4,
        paths=['bu'] * 4,
        same_up_trans=dict(type='conv', kernel_size=3, stride=2, padding=1, **POST),
        across_lateral_trans=dict(type='conv', kernel_size=1, **POST),
        across_down_trans=dict(type='interpolation_conv', kernel_size=3, **POST),
        across_skip_trans=dict(type='conv', kernel_size=1, **POST),
        skip_inds=[(0, 1, 2), (0, 1), (0,), (), ()],
    ),
    yolox=dict(type='YOLOXPAFPN', in_channels=WIDTHS[1:], out_channels=16, num_csp_blocks=1),
    rtmdet=dict(type='CSPNeXtPAFPN', out_channels=16, num_csp_blocks=1),
    mapper=dict(type='ChannelMapper', out_channels=16, norm_cfg=GN),
    yolov3=dict(type='YOLOV3Neck', num_scales=3, in_channels=[32, 24, 16], out_channels=[16] * 3),
    ssh=dict(type='SSH', out_channels=[16] * 4),
    hrfpn=dict(type='HRFPN', out_channels=16),
    centernet=dict(
        type='CTResNetNeck',
        num_deconv_filters=(16, 16, 16),
        num_deconv_kernels=(4, 4, 4),
        use_dcn=False,
    ),
    dropblock=dict(type='FPN_DropBlock', out_channels=16),
)


def build(config, align_corners: bool = True, **changes) -> nn.Module:
    given = dict(in_channels=WIDTHS, in_strides=STRIDES, norm_cfg=BN, act_cfg=dict(type='ReLU'))
    if not isinstance(config, list):
        config = ConfigDict(config)
    return build_pixel_decoder(config, align_corners=align_corners, **{**given, **changes})


@pytest.mark.parametrize('align_corners', [True, False])
@pytest.mark.parametrize('name', NECKS)
def test_a_pixel_decoder_or_neck_of_mmdet_is_a_pixel_decoder(name, align_corners):
    """Each stage has its stride's size, and each trained parameter has a gradient."""
    torch.manual_seed(0)
    decoder = build(NECKS[name], align_corners)
    extra = int(align_corners)
    features = [
        torch.randn(2, width, 96 // stride + extra, 160 // stride + extra)
        for width, stride in zip(WIDTHS, STRIDES)
    ]
    maps = decoder.skips(features)
    strides = [stride_between(96 + extra, x.shape[2]) for x in maps]
    assert strides == [stride_between(160 + extra, x.shape[3]) for x in maps]
    assert strides in ([32, 16, 8, 4], [32, 16, 8])
    assert [x.shape[1] for x in maps] == decoder.out_channels
    assert decoder.stage(1, maps[0], maps[1]) is maps[1]
    sum(x.square().mean() for x in maps).backward()
    trained = {n: x for n, x in decoder.named_parameters() if x.requires_grad}
    assert len(trained) > 5
    assert not [n for n, x in trained.items() if x.grad is None or not x.grad.isfinite().all()]


@pytest.mark.parametrize('mode', [nullcontext, torch.no_grad])
def test_maps_that_are_left_out_freeze_what_leads_to_them_alone(mode):
    with torch.inference_mode():  # such a network never learns
        AdaptedNeck(RETINA, in_channels=WIDTHS, in_strides=STRIDES, align_corners=False)
    with mode():
        neck = AdaptedNeck(RETINA, in_channels=WIDTHS, in_strides=STRIDES, align_corners=False)
    assert (neck.widths, neck.strides) == ([16] * 3, [8, 16, 32])
    frozen = {
        name.rpartition('.conv')[0] for name, x in neck.named_parameters() if not x.requires_grad
    }
    assert frozen == {'necks.0.fpn_convs.3', 'necks.0.fpn_convs.4'}


def test_the_adapter_by_name_gives_the_same_features():
    direct, named = (
        (torch.manual_seed(0), build(config))[1].eval()
        for config in (DEFORMABLE, dict(type='AllStridesPixelDecoder', decoder=DEFORMABLE))
    )
    features = [torch.randn(1, c, 96 // s + 1, 96 // s + 1) for c, s in zip(WIDTHS, STRIDES)]
    for ours, theirs in zip(direct.skips(features), named.skips(features)):
        assert torch.equal(ours, theirs)


class Halves(nn.Module):
    """A decoder of a user that gives a dict of maps."""

    def __init__(self, in_channels):
        super().__init__()
        self.mix = nn.ModuleList(nn.Conv2d(width, 4, 1) for width in in_channels)

    def forward(self, features):
        return {f'p{i}': mix(x) for i, (mix, x) in enumerate(zip(self.mix, features))}


def test_a_class_of_the_user_that_makes_maps_of_maps_fits():
    assert build(dict(type=Halves)).out_channels == [4] * 4


KEY = r'model\.panoptic_head\.pixel_decoder'


@pytest.mark.parametrize(
    'config, sentence',
    [
        (dict(type='DilatedEncoder', in_channels=32, out_channels=16, block_mid_channels=8,
              num_residual_blocks=2, block_dilations=[2, 4]), 'finest map has stride 32'),
        (dict(type='SSDNeck', in_channels=WIDTHS, out_channels=[*WIDTHS, 16], level_strides=(2,),
              level_paddings=(1,), l2_norm_scale=None), 'nothing else of SSDNeck can be trained'),
        (dict(type='FPN', in_channels=[256, 512, 1024, 2048]), r'in_channels.*remove the key'),
        (dict(type='FPN', kinds=('axial',) * 4), "'kinds', which it does not take.*_delete_"),
        (dict(type='FPNN'), "'FPNN', which is not among the registered"),
        (dict(type='ResNet', depth=18), 'ResNet does not run on features of'),
        (dict(type='Mask2FormerHead'), 'a Mask2FormerHead, which does not fit'),
        (dict(type='BFP', num_levels=4), 'BFP does not run on features of'),
        ([dict(type='FPN'), dict(type='BFP', num_levels=7)], r'\.1: BFP does not run on'),
    ],
)  # fmt: skip
def test_what_cannot_be_a_pixel_decoder_is_refused_in_a_sentence(config, sentence):
    with pytest.raises(UserError, match=f'^{KEY}.*{sentence}'):
        build(config)


@pytest.mark.parametrize(
    'config',
    [
        dict(type='FPN_CARAFE', out_channels=16),
        [dict(type='FPN', out_channels=16), dict(type='DyHead', in_channels=16, out_channels=16)],
    ],
)
def test_a_neck_that_wants_a_compiled_operator_names_it(config):
    try:
        build(config)
    except CompiledOpMissing as error:
        assert 'is installed without operators' in str(error)


def test_a_whole_model_with_a_neck_and_an_fpn_for_pixel_decoder():
    torch.manual_seed(0)
    config = small_config(panoptic_head__pixel_decoder=dict(type='FPN', out_channels=8))
    model = MODELS.build(ConfigDict(config, neck=dict(type='PAFPN', out_channels=8, num_outs=5)))
    output = model.train().network(torch.randn(2, 3, 97, 97))
    assert output.decoder.predictions[-1].mask_logits.shape == (2, 16, 25, 25)
    assert output.semantic_logits.shape[2:] == (25, 25)
    losses = [x.mask_logits.square().mean() + x.class_logits.square().mean() for x in output[0][0]]
    (sum(losses) + output.semantic_logits.square().mean()).backward()
    for part in (model.neck, model.panoptic_head.pixel_decoder, model.backbone.conv1):
        assert all(x.grad.abs().sum() > 0 for x in part.parameters() if x.requires_grad)


def test_what_no_layer_reads_is_frozen():
    """Each trained parameter has a gradient, without which several processes would stop."""
    torch.manual_seed(0)
    pixel_decoder = dict(type='FPN', out_channels=8)
    counts = dict(panoptic_head__transformer_decoder__layers_per_stage=(1, 1))
    config = small_config(panoptic_head__pixel_decoder=pixel_decoder, **counts)
    model = MODELS.build(ConfigDict(config)).train()
    output = model.network(torch.randn(2, 3, 65, 65))
    losses = [output.semantic_logits.square().mean()]
    for one in output.decoder.predictions:
        losses += [one.mask_logits.square().mean(), one.class_logits.square().mean()]
        losses += [one.reference_points.square().mean()] if one.reference_points is not None else []
    sum(losses).backward()
    head = dict(model.panoptic_head.named_parameters())
    frozen = {name for name, parameter in head.items() if not parameter.requires_grad}
    assert {name for name, parameter in head.items() if parameter.grad is None} == frozen
    assert {name.split('.')[0] for name in frozen} == {'pixel_decoder', 'transformer_decoder'}
    assert 'pixel_decoder.necks.0.fpn_convs.1.conv.weight' in frozen


def test_a_checkpoint_of_the_former_adapter_fits():
    old = 'panoptic_head.pixel_decoder.decoder.mask_feature.weight'
    weights = {old: torch.zeros(1)}
    rename_weights(weights)
    (name,) = weights
    assert name.removeprefix('panoptic_head.pixel_decoder.') in build(DEFORMABLE).state_dict()
