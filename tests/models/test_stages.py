"""frozen_stages, norm_eval and with_cp of backbones."""

import importlib.util
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.drop_path import draws_per_image
from mmdet.registry import MODELS
from small_model import build_small
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if_timm = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason='the optional package timm is not installed'
)


def of_timm(name: str, **arguments):
    return pytest.param(dict(type='TimmBackbone', model_name=name, **arguments), marks=if_timm)


SMALL_VIT = dict(embed_dim=16, depth=3, num_heads=2, img_size=32)
BACKBONES = [
    dict(type='AxialResNet', num_blocks=(1, 1, 2, 1), width=0.125, drop_path=0.5),
    dict(type='MaXWideResNet', num_blocks=(1, 1, 1), drop_path=0.5),
    dict(type='PanopticResNet', depth=18, base_channels=8, stem_channels=8),
    dict(type='PanopticResNet', depth=50, base_channels=8, stem_channels=8,
         pre_activation_outputs=True),
    of_timm('resnet10t'),
    of_timm('convnext_atto', drop_path_rate=0.5),
    of_timm('efficientnet_b0'),
    of_timm('vit_tiny_patch16_224', drop_path_rate=0.5, **SMALL_VIT),
    of_timm('swin_tiny_patch4_window7_224', embed_dim=8, depths=(1,) * 4, num_heads=(1,) * 4,
            img_size=32),
]  # fmt: skip
FIRST = dict(  # a module that one frozen stage holds, and one behind it
    AxialResNet=('stage2', 'stage3'),
    MaXWideResNet=('stages.0', 'stages.1'),
    PanopticResNet=('layer1', 'layer2'),
    resnet10t=('model.layer1', 'model.layer2'),
    convnext_atto=('model.stages_0', 'model.stages_1'),
    efficientnet_b0=('model.blocks.1', 'model.blocks.2'),
    vit_tiny_patch16_224=('model.model.blocks.0', 'model.model.blocks.1'),
    swin_tiny_patch4_window7_224=('model.layers_0', 'model.layers_1'),
)


def step(backbone: nn.Module, seed: int | None = None) -> dict[str, torch.Tensor]:
    """One backward pass of two images, with draws that belong to each image; the gradients."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 32)
    generators = None if seed is None else [torch.Generator().manual_seed(seed + i) for i in (0, 1)]
    with draws_per_image(generators):
        features = backbone(x)
    torch.rand(7)  # what follows in a training step draws too
    sum(feature.square().mean() for feature in features).backward()
    return {name: p.grad for name, p in backbone.named_parameters() if p.grad is not None}


def opened(config: dict, **arguments) -> nn.Module:
    """The backbone with residual branches that are open from the start."""
    torch.manual_seed(0)
    backbone = MODELS.build(dict(config, **arguments))
    for parameter in backbone.parameters():
        if parameter.dim() == 1:
            nn.init.constant_(parameter, 0.5)
    return backbone


@pytest.mark.parametrize('config', BACKBONES)
def test_frozen_stages_neither_learn_nor_change(config):
    backbone = opened(config, frozen_stages=1)
    backbone.train()
    before = deepcopy(backbone.state_dict())
    inside, behind = FIRST[config.get('model_name', config['type'])]
    assert all(not m.training for m in backbone.get_submodule(inside).modules())
    assert backbone.get_submodule(behind).training
    gradients = step(backbone)
    names = list(before)
    limit = max(i for i, name in enumerate(names) if name.startswith(f'{inside}.'))
    learned = {name for name, gradient in gradients.items() if gradient.abs().max() > 0}
    assert learned and all(names.index(name) > limit for name in learned)
    assert any(name.startswith(f'{behind}.') for name in learned)
    for name in names[: limit + 1]:
        assert torch.equal(backbone.state_dict()[name], before[name])


@pytest.mark.parametrize('config', BACKBONES)
def test_norm_eval_keeps_the_running_averages(config):
    backbone = opened(config, norm_eval=True)
    backbone.train()
    norms = [module for module in backbone.modules() if isinstance(module, _BatchNorm)]
    before = deepcopy(backbone.state_dict())
    assert step(backbone)
    assert backbone.training and not any(norm.training for norm in norms)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    'config',
    [
        dict(type='mmdet.ResNet', depth=18, base_channels=8, norm_cfg=dict(type='BN')),
        dict(type='SwinTransformer', embed_dims=8, num_heads=(1,) * 4, drop_path_rate=0.5),
        of_timm('mobilenetv4_conv_small_035', drop_path_rate=0.5),
        of_timm('hrnet_w18_small', out_indices=(1, 2, 3, 4)),
        pytest.param(
            dict(type='TimmViT', model_name='vit_tiny_patch16_224', embed_dim=16, num_heads=2,
                 depth=2, drop_path_rate=0.5, proj_drop_rate=0.5),
            marks=if_timm,
        ),
    ],
)  # fmt: skip
def test_a_whole_backbone_of_any_kind_neither_learns_nor_changes(config):
    model = build_small(align_corners=False, freeze_backbone=True, backbone=config).train()
    frozen = model.backbone.model if config['type'] == 'TimmViT' else model.backbone
    before = deepcopy(frozen.state_dict())
    output = model.network(torch.randn(2, 3, 64, 64))
    sum(p.mask_logits.square().mean() for p in output.decoder.predictions).backward()
    assert all(parameter.grad is None for parameter in frozen.parameters())
    for name, value in frozen.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert model.training and not any(module.training for module in frozen.modules())
    assert all(p.grad is not None for n, p in model.named_parameters() if '.pyramid.' in n)


def kept_bytes(backbone: nn.Module, forward: Callable | None = None, side: int = 64) -> int:
    """What a forward pass keeps for the backward pass, less the parameters."""
    own = {parameter.data_ptr() for parameter in backbone.parameters()}
    kept = {}

    def note(tensor):
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        features = (forward or backbone)(torch.randn(2, 3, side, side))
    del features
    return sum(kept.values())


@pytest.mark.parametrize('config', BACKBONES)
def test_recomputed_blocks_train_the_same(config):
    """Gradients and statistics are equal to the last bit, drop path per image included."""
    plain, recomputing = opened(config), opened(config, with_cp=True)
    recomputing = deepcopy(recomputing)  # as an average of the weights holds it
    expected, gradients = step(plain, seed=3), step(recomputing, seed=3)
    assert expected.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert torch.equal(gradient, expected[name]), name
    for name, value in recomputing.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name


@pytest.mark.parametrize('config', BACKBONES)
def test_recomputing_keeps_less(config):
    config = dict(config, **(dict(img_size=64) if 'img_size' in config else {}))
    assert kept_bytes(opened(config, with_cp=True)) < 0.8 * kept_bytes(opened(config))


@pytest.mark.parametrize('config', [*BACKBONES[:3], of_timm('resnet10t')])
@pytest.mark.parametrize('value', [9, -2, 1.5, 'all', True])
def test_stages_that_are_not_there_are_refused(config, value):
    with pytest.raises(UserError, match=f'frozen_stages of {config["type"]} is -1 .*, not '):
        MODELS.build(dict(config, frozen_stages=value))


@if_timm
def test_timm_says_which_models_have_no_stages_and_what_it_does_not_take():
    def build(**arguments):
        return MODELS.build(dict(type='TimmBackbone', **arguments))

    with pytest.raises(UserError, match='does not know the stages of hrnet_w18_small'):
        build(model_name='hrnet_w18_small', frozen_stages=1)
    for key, value in (('wdith', 3), ('out_indices', (7,)), ('drop_path_rate', 'much')):
        with pytest.raises(UserError, match=f'timm does not build resnet10t .*{key}'):
            build(model_name='resnet10t', **{key: value})
    with pytest.raises(UserError, match='sets pretrained of timm itself'):
        build(model_name='resnet10t', pretrained=True)
