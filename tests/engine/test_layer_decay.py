"""Learning rates that decay from layer to layer of a backbone."""

import importlib.util
from math import log2

import pytest
import torch
from cmt_deeplab.engine.optim.layer_decay import layer_lr_factors
from cmt_deeplab.errors import UserError
from mmdet.models.backbones import PyramidVisionTransformer
from mmdet.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

if_timm = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason='the optional package timm is not installed'
)
SWIN = dict(embed_dims=8, depths=(1, 2, 2, 1), num_heads=(1, 1, 2, 2), window_size=4)
TIMM_SWIN = dict(embed_dim=8, depths=(1, 2, 2, 1), num_heads=(1, 1, 2, 2))


class Model(nn.Module):
    def __init__(self, backbone: dict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.head = nn.Linear(2, 2)


def layers(backbone: dict, decay_type: str = 'layer_wise') -> dict[str, int]:
    """How often the rate has decayed, for each parameter of the backbone."""
    factors = layer_lr_factors(Model(backbone), decay_rate=0.5, decay_type=decay_type)
    return {name.removeprefix('backbone.'): -round(log2(f)) for name, f in factors.items()}


def check(found: dict[str, int], expected: dict[str, int]) -> None:
    """``expected`` says the layer of each beginning of a name; all names have one."""
    for name, layer in found.items():
        (prefix,) = {p for p in expected if name.startswith(p)}
        assert layer == expected[prefix], name
    assert {layer for layer in found.values()} == set(expected.values())


SWIN_LAYERS = {  # 6 blocks; patches are merged by the last block of a stage
    'stages.0.': 6, 'stages.1.blocks.0.': 5, 'stages.1.blocks.1.': 4, 'stages.1.downsample.': 4,
    'stages.2.blocks.0.': 3, 'stages.2.blocks.1.': 2, 'stages.2.downsample.': 2, 'stages.3.': 1,
    'patch_embed.': 7, 'norm': 0,
}  # fmt: skip


@pytest.mark.parametrize('kind', ['SwinTransformer', 'PanopticSwinTransformer'])
def test_a_block_of_a_swin_transformer_is_a_layer(kind):
    check(layers(dict(type=kind, **SWIN)), SWIN_LAYERS)


@if_timm
def test_swin_of_timm_has_the_same_layers():
    """timm merges patches at the start of a stage."""
    name = 'swin_tiny_patch4_window7_224'
    found = layers(dict(type='TimmBackbone', model_name=name, **TIMM_SWIN))
    expected = {
        'patch_embed': 7, 'layers_0': 6, 'layers_1.downsample': 6,
        'layers_1.blocks.0.': 5, 'layers_1.blocks.1.': 4, 'layers_2.downsample': 4,
        'layers_2.blocks.0.': 3, 'layers_2.blocks.1.': 2, 'layers_3.downsample': 2,
        'layers_3.blocks': 1,
    }  # fmt: skip
    check(found, {f'model.{name}': layer for name, layer in expected.items()})


@if_timm
@pytest.mark.parametrize('depth, last', [(9, 6), (27, 12)])
def test_convnext_has_the_layers_of_mmdet(depth, last):
    """mmdet's own function, of a ConvNeXt with its authors' names, gives the same numbers."""
    from mmdet.engine.optimizers.layer_decay_optimizer_constructor import get_layer_id_for_convnext

    config = dict(
        type='TimmBackbone', model_name='convnext_atto', depths=(1, 1, depth, 1), dims=(8,) * 4
    )
    found = layers(config)
    assert max(found.values()) == last + 1
    for name, layer in found.items():
        theirs = name.removeprefix('model.').replace('_', '.', 1).replace('.blocks', '')
        theirs = theirs.replace('stem.', 'downsample_layers.0.')
        if '.downsample.' in theirs:
            theirs = f'downsample_layers.{theirs.split(".")[1]}.0'
        assert last + 1 - layer == get_layer_id_for_convnext(f'backbone.{theirs}', last), name


@if_timm
def test_a_block_of_a_vision_transformer_is_a_layer():
    vit = dict(model_name='vit_tiny_patch16_224', embed_dim=8, depth=3, num_heads=1, img_size=32)
    found = layers(dict(type='TimmBackbone', **vit))
    blocks = {f'model.model.blocks.{i}.': 3 - i for i in range(3)}
    stem = {f'model.model.{name}': 4 for name in ('cls_token', 'pos_embed', 'patch_embed')}
    check(found, blocks | stem)


@if_timm
def test_pvt_of_timm_has_norms_at_the_end_of_its_stages():
    pvt = dict(model_name='pvt_v2_b0', depths=(1, 2, 1, 1), embed_dims=(8,) * 4, num_heads=(1,) * 4)
    expected = {
        'patch_embed': 6, 'stages_0': 5, 'stages_1.downsample': 5, 'stages_1.blocks.0.': 4,
        'stages_1.blocks.1.': 3, 'stages_1.norm': 3, 'stages_2.downsample': 3,
        'stages_2.blocks': 2, 'stages_2.norm': 2, 'stages_3.downsample': 2, 'stages_3.blocks': 1,
        'stages_3.norm': 1,
    }  # fmt: skip
    found = layers(dict(type='TimmBackbone', **pvt))
    check(found, {f'model.{name}': layer for name, layer in expected.items()})


def test_blocks_and_stages_of_resnets():
    resnet = dict(type='PanopticResNet', depth=18, base_channels=8, stem_channels=8)
    blocks = {f'layer{1 + i // 2}.{i % 2}.': 8 - i for i in range(8)}
    check(layers(resnet), blocks | {'conv1': 9, 'bn1': 9})
    stages = {f'layer{i}.': 5 - i for i in range(1, 5)}
    check(layers(resnet, 'stage_wise'), stages | {'conv1': 5, 'bn1': 5})
    axial = dict(type='AxialResNet', num_blocks=(1, 1, 1, 1), width=0.125)
    check(layers(axial), {'stem.': 5} | {f'stage{2 + i}.': 4 - i for i in range(4)})


def test_the_optimizer_gets_the_rates_and_decays_kernels_alone():
    model = Model(dict(type='SwinTransformer', **SWIN))
    constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(
            type='PanopticOptimWrapperConstructor',
            optim_wrapper_cfg=dict(optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.5)),
            paramwise_cfg=dict(decay_rate=0.5, custom_keys={'backbone': dict(lr_mult=0.1)}),
        )
    )
    groups = constructor(model).optimizer.param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(p)]: (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    assert len(found) == len(names)
    block = 'backbone.stages.1.blocks.0.'
    assert found['head.weight'] == (1.0, 0.5)
    assert found[f'{block}ffn.layers.1.weight'] == pytest.approx((0.1 * 0.5**5, 0.5))
    assert found[f'{block}norm1.weight'] == pytest.approx((0.1 * 0.5**5, 0.0))
    assert found['backbone.norm3.weight'] == pytest.approx((0.1, 0.0))
    table = f'{block}attn.w_msa.relative_position_bias_table'
    assert found[table] == pytest.approx((0.1 * 0.5**5, 0.0))


def test_what_cannot_decay_is_refused_by_name():
    pvt = dict(type=PyramidVisionTransformer, num_layers=[1] * 4, embed_dims=8)
    with pytest.raises(UserError, match='the layers of PyramidVisionTransformer are not known'):
        layers(pvt)
    with pytest.raises(UserError, match='ReLU has no backbone'):
        layer_lr_factors(torch.nn.ReLU(), decay_rate=0.9)
    model = Model(dict(type='SwinTransformer', **SWIN))
    for rate in (None, 0, 1.1, '0.9'):
        with pytest.raises(UserError, match='decay_rate is .* in .0, 1.'):
            layer_lr_factors(model, decay_rate=rate)
    with pytest.raises(UserError, match="decay_type is 'layers', but is 'layer_wise' or"):
        layer_lr_factors(model, decay_rate=0.9, decay_type='layers')
