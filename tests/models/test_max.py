"""MaX-DeepLab: its layer against explicit loops, the pixel decoder, the whole network in small."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.pixel_decoders import MaXPixelDecoder
from cmt_deeplab.models.transformer import MaXLayer
from cmt_deeplab.renamed import rename_weights
from mmdet.registry import MODELS
from torch import nn

NORM = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)
RELU = dict(type='ReLU')
COMMON = dict(norm_cfg=NORM, act_cfg=RELU, align_corners=True)


def randomized(module: nn.Module) -> nn.Module:
    """No gamma of 0 and no running average of a fresh norm: every path counts."""
    generator = torch.Generator().manual_seed(1)
    for m in module.modules():
        if isinstance(getattr(m, 'running_mean', None), torch.Tensor):
            m.weight.data.uniform_(0.5, 1.5, generator=generator)
            m.bias.data.normal_(0, 0.3, generator=generator)
            m.running_mean.normal_(0, 0.3, generator=generator)
            m.running_var.uniform_(0.5, 1.5, generator=generator)
    return module


def build_layer(**changes) -> MaXLayer:
    torch.manual_seed(0)
    arguments = dict(
        pixel_channels=12,
        center_channels=10,
        predictor=None,
        hidden_channels=16,
        heads=2,
        key_channels=4,
        value_channels=8,
        ffn_channels=20,
        **COMMON,
    )
    return randomized(MaXLayer(**{**arguments, **changes})).eval()


def scale_shift(norm: nn.Module):
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - norm.running_mean * scale


def affine(block, vector):
    """A 1x1 convolution and its norm on one vector."""
    scale, shift = scale_shift(block.norm)
    return (block.conv.weight[:, :, 0, 0] @ vector) * scale + shift


def slow_attention(norm, update, queries, keys, values, heads):
    """Lists of vectors: one query, one head, one memory position at a time."""
    scale, shift = scale_shift(norm)
    out = []
    for query in queries:
        parts = []
        for head in range(heads):

            def cut(vector, head=head):
                return vector.view(heads, -1)[head]

            logits = torch.stack(
                [cut(query) @ cut(key) * scale[head] + shift[head] for key in keys]
            )
            weights = torch.exp(logits - logits.max())
            weights = weights / weights.sum()
            parts.append(sum(weight * cut(value) for weight, value in zip(weights, values)))
        gain, offset = scale_shift(update.norm)
        out.append(affine(update.project, torch.relu(torch.cat(parts) * gain + offset)))
    return out


@torch.no_grad()
def slow_layer(layer: MaXLayer, pixels, centers):
    """(Dp, H, W) and (D, N) of one image."""
    size = pixels.shape[1:]
    own_pixels = [
        torch.relu(affine(layer.pixel_project, torch.relu(pixel))) for pixel in pixels.flatten(1).T
    ]
    own_centers = [torch.relu(affine(layer.center_project, center)) for center in centers.T]
    depths = layer.center_qkv.depths
    assert layer.pixel_qkv.depths == depths
    pq, pk, pv = zip(*(affine(layer.pixel_qkv, v).split(depths) for v in own_pixels))
    cq, ck, cv = zip(*(affine(layer.center_qkv, v).split(depths) for v in own_centers))
    memory = slow_attention(
        layer.center_similarity_norm, layer.center_update, cq, pk + ck, pv + cv, layer.heads
    )
    updated = []
    for center, update in zip(centers.T, memory):
        center = torch.relu(center + update)
        hidden = torch.relu(affine(layer.ffn.expand, center))
        updated.append(torch.relu(center + affine(layer.ffn.reduce, hidden)))
    feedback = slow_attention(
        layer.pixel_similarity_norm, layer.pixel_update, pq, ck, cv, layer.heads
    )
    return pixels + torch.stack(feedback, 1).view(-1, *size), torch.stack(updated, 1)


def test_layer_equals_explicit_loops():
    layer = build_layer()
    pixels, centers = torch.randn(2, 12, 3, 4), torch.randn(2, 10, 5)
    with torch.no_grad():
        output = layer(pixels, centers, None)
    for image in range(2):
        expected_pixels, expected_centers = slow_layer(layer, pixels[image], centers[image])
        torch.testing.assert_close(output.pixels[image], expected_pixels, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(output.centers[image], expected_centers, atol=1e-5, rtol=1e-5)
    assert output.logits.shape == (2, 2, 5, 3, 4) and output.prediction is None


def test_pixels_and_memory_share_one_softmax():
    """A center that attends to the centers alone hears nothing of the pixels: both compete."""
    layer = build_layer(pixel_update=False)
    with torch.no_grad():
        centers = torch.randn(1, 10, 5)
        one, other = torch.randn(2, 1, 12, 3, 4)
        assert (
            layer(one, centers, None).centers - layer(other, centers, None).centers
        ).abs().max() > 1e-2
        layer.center_qkv.conv.weight[:4] = 0  # all queries are the norm's shift,
        layer.center_qkv.norm.bias[4:8] = (
            1000 * layer.center_qkv.norm.bias[:4]
        )  # and all keys of the memory are near to it
        layer.center_similarity_norm.weight.abs_()
        torch.testing.assert_close(
            layer(one, centers, None).centers,
            layer(other, centers, None).centers,
            atol=1e-5,
            rtol=1e-5,
        )


def test_a_checkpoint_with_the_old_names_of_the_layer_loads():
    """Version 0.1.0 called the attention of the centers that of the memory."""
    layer, new = build_layer(), 'center_'
    old = {
        name.replace(f'{new}update', 'memory_update').replace(
            f'{new}similarity_norm', 'memory_similarity_norm'
        ): value
        for name, value in layer.state_dict().items()
    }
    assert sum(name.startswith('memory_') for name in old) > 5
    rename_weights(old)
    layer.load_state_dict(old)


def test_without_pixel_update_the_pixels_stay():
    layer = build_layer(pixel_update=False)
    pixels = torch.randn(1, 12, 3, 4)
    output = layer(pixels, torch.randn(1, 10, 5), None)
    assert output.pixels is pixels and output.logits.shape == (1, 2, 5, 3, 4)


def test_heads_must_divide_the_depths():
    with pytest.raises(ValueError, match='multiples of heads'):
        build_layer(heads=3)


def build_decoder(**changes) -> MaXPixelDecoder:
    torch.manual_seed(0)
    arguments = dict(
        in_channels=(16, 32, 64),
        filters=(32, 32, 8, 4),
        kinds=('axial', 'axial', 'bottleneck', 'bottleneck'),
        num_blocks=(1, 1, 1, 1),
        strides=(16, 16, 8, 4),
        **COMMON,
    )
    return randomized(MaXPixelDecoder(**{**arguments, **changes})).eval()


def run(decoder, features, between=lambda i, x: x):
    x, outputs = None, []
    for i, skip in enumerate(decoder.skips(features)):
        x = between(i, decoder.stage(i, x, skip))
        outputs.append(x)
    return outputs


def features_at(channels=(16, 32, 64), strides=(4, 8, 16), side=65):
    return [
        torch.randn(1, width, (side - 1) // stride + 1, (side - 1) // stride + 1)
        for width, stride in zip(channels, strides)
    ]


def test_decoder_adds_the_backbone_where_the_widths_agree():
    decoder = build_decoder()
    outputs = run(decoder, features_at())
    assert [output.shape[1:] for output in outputs] == [
        (128, 5, 5),
        (128, 5, 5),
        (32, 9, 9),
        (16, 17, 17),
    ]
    assert decoder.out_channels == [128, 128, 32, 16] and outputs[-1].min() >= 0, (
        'the last stage is activated'
    )
    assert not list(decoder.fuses['1'].kept.parameters()), (
        'a skip of the right width is added as it is'
    )
    wider = build_decoder(in_channels=(16, 48, 64))
    assert list(wider.fuses['1'].kept.parameters()), 'a skip of another width is projected'


def test_a_second_hourglass_reads_what_the_layers_left_of_the_first():
    """Strides 8, 16, 8, 16: the last stage sums the one before and the two runs kept at 16."""
    decoder = build_decoder(
        in_channels=(16, 32),
        in_strides=(4, 8),
        kinds=('basic', 'basic', 'axial', 'basic', 'axial'),
        filters=(32, 8, 32, 8, 32),
        num_blocks=(1,) * 5,
        strides=(16, 8, 16, 8, 16),
    )
    features = features_at((16, 32), (4, 8))
    plain = run(decoder, features)
    assert [tuple(x.shape[2:]) for x in plain] == [(5, 5), (9, 9), (5, 5), (9, 9), (5, 5)]
    assert [len(fuse.kept) for fuse in decoder.fuses.values()] == [1, 1, 2, 2]
    moved = run(decoder, features, between=lambda i, x: x + 1 if i == 0 else x)
    last = decoder.fuses['3']
    direct = last(plain[3], [plain[0] + 1, plain[2]]) - last(plain[3], [plain[0], plain[2]])
    torch.testing.assert_close(direct, torch.ones_like(direct), atol=1e-5, rtol=1e-5)
    assert (moved[4] - plain[4]).abs().max() > 1e-3, (
        'a layer after stage 0 changes what stage 4 reads'
    )


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(strides=(16, 16, 4, 2)), 'half or double'),
        (dict(num_blocks=(1, 1)), 'one entry per stage'),
        (dict(in_channels=(16, 64)), 'in_strides'),
        (dict(filters=(32, 32, 32, 4)), 'double the filters'),
    ],
)
def test_decoder_names_the_mistake(changes, message):
    with pytest.raises(ValueError, match=message):
        build_decoder(**changes)


def test_a_wrong_argument_of_the_axial_blocks_is_one_sentence():
    config = dict(type='MaXPixelDecoder', in_channels=(16, 32, 64), axial=dict(span=8), **COMMON)
    with pytest.raises(UserError, match="^AxialBlock does not take 'span': it takes bottleneck_ex"):
        MODELS.build(config)


SMALL = dict(
    type='CMTPanopticHead',
    in_channels=(16, 32, 64),
    num_classes=5,
    align_corners=True,
    norm_cfg=NORM,
    act_cfg=RELU,
    semantic_stage=1,
    pixel_decoder=dict(
        type='MaXPixelDecoder',
        kinds=('axial', 'axial', 'bottleneck', 'bottleneck'),
        filters=(32, 32, 8, 4),
        num_blocks=(1, 1, 1, 1),
        strides=(16, 16, 8, 4),
    ),
    transformer_decoder=dict(
        type='CMTTransformerDecoder',
        num_centers=6,
        center_channels=16,
        layers_per_stage=(1, 1),
        deep_supervision=False,
        layer=[
            dict(
                type='MaXLayer',
                hidden_channels=width,
                heads=2,
                key_channels=width // 2,
                value_channels=width,
                ffn_channels=24,
            )
            for width in (8, 16)
        ],
    ),
    predictor=dict(
        type='CMTPredictor', hidden_channels=16, feature_channels=8, center_hidden_channels=12
    ),
    semantic_head=dict(
        type='PanopticSemanticHead',
        channels=16,
        fuse_channels=(8, 8),
        coarsest_act_cfg=RELU,
        skip_act_cfg=RELU,
    ),
)


def test_head_trains_end_to_end_with_one_prediction():
    torch.manual_seed(0)
    head = randomized(MODELS.build(SMALL)).train()
    output = head(
        [feature.repeat(2, 1, 1, 1) + 0.1 * torch.randn(2, 1, 1, 1) for feature in features_at()]
    )
    assert len(output.decoder.predictions) == 1 and len(output.decoder.assignments) == 2
    assert output.decoder.predictions[0].mask_logits.shape == (
        2,
        6,
        17,
        17,
    ) and output.semantic_logits.shape == (2, 6, 17, 17)
    final = output.decoder.predictions[0]
    loss = (final.mask_logits * torch.randn_like(final.mask_logits)).sum() + (
        final.class_logits * torch.randn(2, 6, 6)
    ).sum()
    (loss + (output.semantic_logits * torch.randn_like(output.semantic_logits)).sum()).backward()
    assert [
        name
        for name, parameter in head.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all()
    ] == []


def test_semantic_head_reads_the_stage_after_its_layer_activated():
    head = randomized(MODELS.build(SMALL)).train()
    head.semantic_head.eval()
    features = features_at()
    output = head([feature.repeat(2, 1, 1, 1) for feature in features])
    stage = output.decoder.stage_features[1]
    activated = [torch.relu(feature.repeat(2, 1, 1, 1)) for feature in features] + [
        torch.relu(stage)
    ]
    torch.testing.assert_close(output.semantic_logits, head.semantic_head(activated))
    assert stage.min() < 0, 'the stage itself comes without its activation'
    assert head.eval()(features).decoder.stage_features == [], 'nothing is kept at inference'


def test_as_many_layer_configs_as_stages():
    config = dict(
        SMALL, transformer_decoder=dict(SMALL['transformer_decoder'], layers_per_stage=(1, 1, 0))
    )
    with pytest.raises(ValueError, match='2 configs for the 3 stages'):
        MODELS.build(config)


@pytest.mark.parametrize('mode, tolerance', [('bf16', 2e-2), ('compile', 1e-4)])
def test_layer_gives_the_same_in_bf16_and_compiled(mode, tolerance):
    layer = build_layer()
    pixels, centers = torch.randn(2, 12, 3, 4), torch.randn(2, 10, 5)
    with torch.no_grad():
        expected = layer(pixels, centers, None)
        if mode == 'bf16':
            with torch.autocast('cpu', torch.bfloat16):
                output = layer(pixels, centers, None)
        else:
            output = torch.compile(layer, backend='aot_eager')(pixels, centers, None)
    for got, wanted in zip(output[:3], expected[:3]):
        assert (got.float() - wanted).norm() <= tolerance * wanted.norm()
