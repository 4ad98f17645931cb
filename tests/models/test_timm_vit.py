"""Plain vision transformers: sizes, pyramid, weights of every source, freezing, learning rates."""

import importlib.util
from math import log2

import pytest
import torch
from cmt_deeplab.engine.optim.layer_decay import layer_lr_factors
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import pixel_positions
from cmt_deeplab.models.detectors.probe import probe_backbone
from mmdet.registry import MODELS
from torch import nn

if importlib.util.find_spec('timm') is None:
    pytest.skip('the optional package timm is not installed', allow_module_level=True)

import timm
from cmt_deeplab.models.backbones.timm_vit import STRIDES, SimplePyramid, TimmViT

SMALL = dict(embed_dim=32, depth=2, num_heads=2)
NAMES = (
    'vit_small_patch14_dinov2',
    'vit_small_patch14_reg4_dinov2',
    'vit_small_patch16_dinov3',
    'eva02_tiny_patch14_224',
)


def small(name: str, **arguments) -> TimmViT:
    return TimmViT(model_name=name, out_channels=8, **SMALL, **arguments)


@pytest.mark.parametrize('name', NAMES)
def test_images_of_any_size_and_a_gradient_for_every_parameter(name):
    backbone = small(name)
    for size in ((64, 97), (47, 50), (1, 33)):
        with torch.no_grad():
            features = backbone(torch.randn(1, 3, *size))
        expected = [(1, 8, -(-size[0] // s), -(-size[1] // s)) for s in STRIDES]
        assert [tuple(feature.shape) for feature in features] == expected
    sum(feature.square().mean() for feature in backbone(torch.randn(2, 3, 65, 65))).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in backbone.parameters())
    for aligned, size in ((True, (65, 97)), (False, (64, 96))):
        found = probe_backbone(backbone, {}, size=size, align_corners=aligned)
        assert found == ((8,) * 4, STRIDES)


def test_fewer_features():
    backbone = small(NAMES[0], out_indices=(1, 2))
    features = backbone(torch.randn(2, 3, 65, 65))
    assert [tuple(feature.shape) for feature in features] == [(2, 8, 9, 9), (2, 8, 5, 5)]
    sum(feature.square().mean() for feature in features).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    for indices in ((), (2, 1), (3, 4)):
        with pytest.raises(UserError, match='out_indices of TimmViT are among 0, 1, 2 and 3'):
            small(NAMES[0], out_indices=indices)


@pytest.mark.parametrize('name', NAMES[::2])
def test_as_many_parameters_as_timm_has(name):
    with torch.device('meta'):
        counts = [
            sum(parameter.numel() for parameter in model.parameters())
            for model in (TimmViT(model_name=name).model, timm.create_model(name, num_classes=0))
        ]
    kernels = 3 * 384 * (16**2 - 14**2) if 'patch14' in name else 0
    assert counts[0] - counts[1] == kernels


@pytest.mark.parametrize('aligned', [True, False])
def test_the_pyramid_keeps_what_lies_at_a_place_there(aligned):
    """A ramp over the image, taken through kernels that copy, stays the same ramp at stride 4."""
    pyramid = SimplePyramid(4, 1, norm_cfg=None)
    for layer in (pyramid.to_stride8, *pyramid.to_stride4):
        nn.init.constant_(layer.weight, 1 / layer.in_channels)
        nn.init.zeros_(layer.bias)
    pyramid.outputs = nn.ModuleList(nn.Identity() for _ in STRIDES)
    side = 9 if aligned else 8
    ramp = 10 + pixel_positions(side, align_corners=aligned).expand(1, 4, side, side)
    for feature, stride in zip(pyramid(ramp, aligned=(aligned, aligned)), STRIDES):
        number = feature.shape[-1]
        expected = 10 + pixel_positions(number, align_corners=aligned)
        step = 1 / (side - aligned)  # a maximum looks one pixel ahead, and cells copy theirs
        error = 1e-5 if aligned and stride < 32 else step
        torch.testing.assert_close(feature[0, 0, 0], expected, atol=error, rtol=0)
        if aligned:
            assert number == (side - 1) * 16 // stride + 1


def read_back(name: str, state: dict, path) -> TimmViT:
    torch.save(state, path)
    backbone = small(name, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    backbone.init_weights()
    return backbone.eval()


def of_the_authors_of_dinov3(state: dict) -> dict:
    """timm's weights under the names of DINOv3, which has biases of zero that timm leaves out."""
    names = {'gamma_1': 'ls1.gamma', 'gamma_2': 'ls2.gamma', 'reg_token': 'storage_tokens'}
    renamed = dict(mask_token=torch.zeros(1, 32))
    for name, value in state.items():
        if name.endswith('qkv.weight'):
            renamed[name.replace('weight', 'bias')] = torch.zeros(len(value))
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed


@pytest.mark.parametrize('source', ['timm', 'authors'])
def test_dinov3_reads_timm_and_its_authors(tmp_path, source, capsys):
    name = 'vit_small_patch16_dinov3'
    theirs = timm.create_model(name, num_classes=0, **SMALL).eval()
    state = theirs.state_dict()
    state = state if source == 'timm' else of_the_authors_of_dinov3(state)
    ours = read_back(name, state, tmp_path / 'weights.pth')
    assert 'no attribute' not in capsys.readouterr().out
    x = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(ours.model.forward_features(x), theirs.forward_features(x))


def test_dinov2_reads_patches_of_another_size(tmp_path):
    """Patches of 16 see an enlarged image as those of 14 see the image; positions stay."""
    name = 'vit_small_patch14_dinov2'
    theirs = timm.create_model(name, num_classes=0, dynamic_img_size=True, **SMALL).eval()
    state = dict(theirs.state_dict(), mask_token=torch.zeros(1, 32))
    ours = read_back(name, dict(teacher=1, model=state), tmp_path / 'weights.pth')
    assert torch.equal(ours.model.pos_embed, theirs.pos_embed)
    tiles = torch.randn(12, 3, 14, 14)
    larger = nn.functional.interpolate(tiles, 16, mode='bicubic', antialias=True)
    with torch.no_grad():
        embedded = [model.patch_embed(x) for model, x in ((theirs, tiles), (ours.model, larger))]
    torch.testing.assert_close(*embedded, atol=1e-4, rtol=1e-4)


def test_foreign_and_absent_weights(tmp_path):
    for name in NAMES[::2]:
        with pytest.raises(ValueError, match='of another model than this'):
            read_back(name, {'conv1.weight': torch.zeros(2, 3)}, tmp_path / 'weights.pth')
    path = str(tmp_path / 'absent.pth')
    backbone = small(NAMES[0], init_cfg=dict(type='Pretrained', checkpoint=path))
    with pytest.raises(FileNotFoundError, match='absent.pth.*backbone.init_cfg.checkpoint'):
        backbone.init_weights()


@pytest.mark.parametrize(
    'name, message',
    [
        ('swin_tiny_patch4_window7_224', "SwinTransformer of timm .* use type='TimmBackbone'"),
        ('deit_tiny_distilled_patch16_224', 'no plain vision transformer'),
        ('vit_giant_patch3', 'knows no model'),
    ],
)
def test_other_models_are_refused(name, message):
    with pytest.raises(UserError, match=message):
        TimmViT(model_name=name)
    with pytest.raises(UserError, match='TimmViT sets patch_size of timm itself'):
        small(NAMES[0], patch_size=8)


@pytest.mark.parametrize('name', NAMES)
def test_learning_rates_and_frozen_stages(name):
    """The pyramid and the last norm learn as fast as the head, and frozen blocks not at all."""
    model = nn.Module()
    model.backbone = small(name, frozen_stages=1, drop_path_rate=0.5).train()
    layers = {
        name.removeprefix('backbone.'): -log2(factor)
        for name, factor in layer_lr_factors(model, decay_rate=0.5).items()
    }
    for parameter, layer in layers.items():
        part = parameter.removeprefix('model.')
        blocks = {'blocks.0': 2, 'blocks.1': 1, 'norm.': 0, 'pyramid': 0}
        assert layer == next((blocks[key] for key in blocks if part.startswith(key)), 3), part
        learns = model.backbone.get_parameter(parameter).requires_grad
        assert learns == part.startswith(('blocks.1', 'norm.', 'pyramid')), part
    assert not model.backbone.model.blocks[0].training and model.backbone.model.blocks[1].training


def test_recomputed_blocks_have_the_same_gradients():
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        backbone = small('vit_small_patch16_dinov3', with_cp=with_cp)
        x = torch.randn(1, 3, 33, 33)
        sum(feature.square().mean() for feature in backbone(x)).backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    torch.testing.assert_close(*gradients)


def test_it_serves_mmdets_models():
    backbone = MODELS.build(dict(type='TimmViT', model_name=NAMES[0], out_channels=8, **SMALL))
    neck = MODELS.build(
        dict(type='FPN', in_channels=list(backbone.out_channels), out_channels=8, num_outs=4)
    )
    maps = neck(backbone(torch.randn(1, 3, 64, 64)))
    assert [tuple(map_.shape[2:]) for map_ in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
