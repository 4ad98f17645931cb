"""kMaX-DeepLab: the k-means layer against explicit loops, and the two forms of its network."""

from functools import partial
from pathlib import Path

import pytest
import torch
from cmt_deeplab.models.heads.predictor import CMTPredictor
from cmt_deeplab.models.heads.semantic_head import PanopticSemanticHead
from cmt_deeplab.models.pixel_decoders import AxialPixelDecoder
from cmt_deeplab.models.transformer import KMaXLayer, kmax_layer
from cmt_deeplab.models.transformer.retrieval import nearest_center
from mmdet.registry import MODELS
from mmengine.config import Config
from torch import nn

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / '_base_' / 'models'
COMMON = dict(
    norm_cfg=dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01), act_cfg=dict(type='GELU')
)


def build_layer(seed: int = 0, **changes) -> KMaXLayer:
    torch.manual_seed(seed)
    arguments = dict(
        pixel_channels=12,
        center_channels=10,
        align_corners=True,
        predictor=partial(
            CMTPredictor, num_classes=3, hidden_channels=16, feature_channels=8, **COMMON
        ),
        **COMMON,
        hidden_channels=16,
        heads=2,
        key_channels=4,
        value_channels=8,
        ffn_channels=20,
    )
    layer = KMaXLayer(**{**arguments, **changes})
    for module in layer.modules():
        if isinstance(getattr(module, 'running_mean', None), torch.Tensor):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
    return layer.eval()


def test_centers_move_by_the_sum_of_their_pixels():
    layer = build_layer()
    pixels, centers = torch.randn(2, 12, 3, 4), torch.randn(2, 10, 5)
    with torch.no_grad():
        output = layer(pixels, centers, None, predict=True)
        own_pixels, own_centers = (
            layer.pixel_project(layer.act(pixels)),
            layer.center_project(centers),
        )
        (values,), logits = layer.pixel_value(own_pixels), output.prediction.mask_logits
        pooled = torch.zeros(2, 8, 5)
        for image in range(2):
            for row in range(3):
                for column in range(4):
                    best = max(range(5), key=lambda n: logits[image, n, row, column])
                    pooled[image, :, best] += values[image, 0, :, 4 * row + column]
        moved = layer.act(centers + layer.pooled_update(pooled) + layer.self_attention(own_centers))
        expected = layer.act(moved + layer.ffn(moved))
    torch.testing.assert_close(output.centers, expected, atol=1e-5, rtol=1e-5)
    assert output.pixels is pixels and output.logits.shape == (2, 1, 5, 3, 4)


def test_the_assignment_carries_no_gradient():
    layer = build_layer()
    output = layer(torch.randn(2, 12, 3, 4), torch.randn(2, 10, 5), None, predict=True)
    output.centers.sum().backward()
    assert all(parameter.grad is None for parameter in layer.predictor.parameters()), (
        'the predictor learns from its losses alone'
    )
    assert layer.pixel_value.conv.weight.grad.abs().max() > 0


def test_prediction_is_computed_at_inference_but_not_handed_out():
    output = build_layer()(torch.randn(1, 12, 3, 4), torch.randn(1, 10, 5), None)
    assert output.prediction is None and output.logits is not None


def test_a_layer_without_predictor_is_refused():
    with pytest.raises(ValueError, match='give it a predictor'):
        build_layer(predictor=None)


def test_bf16_with_the_assignment_fixed(monkeypatch):
    layer = build_layer()
    pixels, centers, assignment = (
        torch.randn(2, 12, 3, 4),
        torch.randn(2, 10, 5),
        nearest_center(torch.randn(2, 1, 5, 12)),
    )
    monkeypatch.setattr(kmax_layer, 'nearest_center', lambda logits: assignment)
    with torch.no_grad():
        expected = layer(pixels, centers, None).centers
        with torch.autocast('cpu', torch.bfloat16):
            got = layer(pixels, centers, None).centers
    assert (got.float() - expected).norm() <= 2e-2 * expected.norm()


def build(name: str) -> nn.Module:
    config = Config.fromfile(str(CONFIGS / name)).model
    config.update(num_things_classes=3, num_stuff_classes=2)
    config.backbone.init_cfg = None
    with torch.device('meta'):
        return MODELS.build(config)


def test_the_two_forms_share_every_parameter_and_differ_in_three_places():
    torch_form, tf_form = build('kmax-deeplab_r50.py'), build('kmax-deeplab_r50-tf.py')
    shapes = [
        {name: value.shape for name, value in model.state_dict().items()}
        for model in (torch_form, tf_form)
    ]
    assert shapes[0] == shapes[1]
    strides = [model.backbone.layer1[0].conv2.stride for model in (torch_form, tf_form)]
    assert strides == [(1, 1), (2, 2)] and not tf_form.backbone.with_max_pool
    assert (
        torch_form.backbone.pre_activation_outputs,
        tf_form.backbone.pre_activation_outputs,
    ) == (False, True)
    dilations = [
        [
            blocks[0].middle.conv.dilation[0]
            for blocks in model.panoptic_head.pixel_decoder.blocks[2:]
        ]
        for model in (torch_form, tf_form)
    ]
    assert dilations == [[1, 1], [2, 2]]
    assert isinstance(tf_form.panoptic_head.semantic_head.skip_act, nn.ReLU)
    assert isinstance(tf_form.panoptic_head.semantic_head.coarsest_act, nn.Identity)


CITYSCAPES_DECODER = dict(
    kinds=('axial', 'axial') + ('bottleneck',) * 3,
    filters=(32, 16, 8, 4, 2),
    num_blocks=(1,) * 5,
    dilations=(1,) * 5,
    align_corners=True,
    **COMMON,
)


def test_a_fifth_stage_stays_at_the_stride_of_its_feature():
    """ConvNeXt on Cityscapes: the stem, of stride 4 as C2, is the skip of the last stage."""
    decoder = AxialPixelDecoder(in_channels=(12, 12, 24, 48, 96), **CITYSCAPES_DECODER)
    sides = (17, 17, 9, 5, 3)
    features = [torch.randn(2, c, n, n) for c, n in zip((12, 12, 24, 48, 96), sides)]
    x, sizes = None, []
    for i, skip in enumerate(decoder.skips(features)):
        x = decoder.stage(i, x, skip)
        sizes.append(tuple(x.shape[1:]))
    assert sizes == [(128, 3, 3), (64, 5, 5), (32, 9, 9), (16, 17, 17), (8, 17, 17)]
    stem = features[0].requires_grad_()
    decoder.fuses[3](torch.randn(2, 16, 17, 17), decoder.skips(features)[4]).sum().backward()
    assert stem.grad.abs().max() > 0


@pytest.mark.parametrize('project', [True, False])
def test_a_skip_of_the_right_width_is_added_as_it_is_in_kmax_deeplab(project):
    """R50 on Cityscapes: the pooled stem has the 64 channels of the fourth stage."""
    decoder = AxialPixelDecoder(
        in_channels=(16, 4, 24, 48, 96), project_equal_skips=project, **CITYSCAPES_DECODER
    )
    projections = [fuse.skip is not None for fuse in decoder.fuses]
    assert projections == [True, True, project, True]
    low, skip = torch.randn(2, 32, 9, 9), torch.randn(2, 4, 17, 17)
    fuse = decoder.fuses[2]
    coarse = nn.functional.interpolate(
        fuse.low(nn.functional.gelu(low)), (17, 17), mode='bilinear', align_corners=True
    )
    equal = torch.allclose(fuse(low, skip), coarse + skip, atol=1e-6)
    assert equal is not project


def test_the_semantic_head_of_cityscapes_reads_the_coarsest_feature_alone():
    """No ASPP and no fusions: two convolutions on C5 and the classifier, at stride 32."""
    head = PanopticSemanticHead(
        in_channels=(4, 8, 24),
        num_classes=5,
        channels=16,
        rates=None,
        fuse=(),
        fuse_channels=(),
        align_corners=True,
        **COMMON,
    )
    names = {name.split('.')[0] for name, _ in head.named_parameters()}
    assert names == {'head', 'classify'} and head.head[1].conv.weight.shape[:2] == (16, 24)
    features = [torch.randn(2, c, n, n) for c, n in ((4, 17), (8, 9), (24, 3))]
    assert head(features).shape == (2, 6, 3, 3)
