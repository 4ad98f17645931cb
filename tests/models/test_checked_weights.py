"""Files of weights for parts of mmdet, which load what fits and train the rest from scratch."""

import importlib.util

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.backbones.pretrained import checked_weights
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.model import BaseModule
from torch import nn
from toy_run import toy_runner

RESNET = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8)
SWIN = dict(
    type='SwinTransformer', embed_dims=8, depths=(1,) * 4, num_heads=(1,) * 4, window_size=4
)
PVT = dict(type='PyramidVisionTransformerV2', num_layers=[1] * 4, embed_dims=8)
FPN = dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, num_outs=4)


class Detector(BaseModule):
    """A detector of mmdet, as far as its weights are concerned."""

    def __init__(self, backbone: dict) -> None:
        super().__init__()
        self.backbone = MODELS.build(backbone)


def randomized(config: dict) -> dict:
    torch.manual_seed(1)
    network = MODELS.build(config)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network.state_dict()


def initialized(config: dict, content: object, path, **init_cfg) -> nn.Module:
    """The backbone after an initialization from a file of ``content``."""
    torch.save(content, path)
    init = ConfigDict(type='Pretrained', checkpoint=str(path), **init_cfg)
    detector = Detector(dict(config, init_cfg=init))
    with checked_weights(detector):
        detector.init_weights()
    return detector.backbone


def authors_swin(state: dict) -> dict:
    """The names of the authors of Swin for what mmdet keeps in the same layout."""
    renamed = {}
    for name, value in state.items():
        for mine, theirs in (
            ('stages.', 'layers.'), ('attn.w_msa.', 'attn.'), ('ffn.layers.0.0.', 'mlp.fc1.'),
            ('ffn.layers.1.', 'mlp.fc2.'), ('patch_embed.projection.', 'patch_embed.proj.'),
        ):  # fmt: skip
            name = name.replace(mine, theirs)
        renamed[name] = value
    return renamed


@pytest.mark.parametrize('config', [RESNET, SWIN, PVT, FPN])
def test_the_right_file_loads(tmp_path, config):
    state = randomized(config)
    written = state
    if config is SWIN:  # mmdet's own reads files of detectors, or those of its authors
        written = {f'backbone.{name}': value for name, value in state.items()}
    for content in (written, dict(state_dict=written, meta=dict(epoch=1))):
        loaded = initialized(config, content, tmp_path / 'own.pth')
        for name, parameter in loaded.named_parameters():
            assert torch.equal(parameter, state[name]), name


def test_a_file_that_is_renamed_while_it_is_read_loads(tmp_path):
    state = randomized(SWIN)
    content = dict(model=authors_swin(state))
    loaded = initialized(dict(SWIN, convert_weights=True), content, tmp_path / 'authors.pth')
    name = 'stages.2.blocks.0.attn.w_msa.qkv.weight'
    assert torch.equal(loaded.state_dict()[name], state[name])
    with pytest.raises(
        UserError, match='set model.backbone.convert_weights=True for a file of its'
    ):
        initialized(SWIN, content, tmp_path / 'authors.pth')


@pytest.mark.skipif(
    importlib.util.find_spec('torchvision') is None, reason='torchvision is not installed'
)
def test_files_of_torchvision_load(tmp_path):
    import torchvision

    state = torchvision.models.resnet18(num_classes=5).state_dict()
    loaded = initialized(dict(type='ResNet', depth=18), state, tmp_path / 'resnet18.pth')
    assert torch.equal(loaded.layer4[1].conv2.weight, state['layer4.1.conv2.weight'])
    with pytest.raises(UserError, match='another model than this SwinTransformer'):
        initialized(SWIN, state, tmp_path / 'resnet18.pth')


def test_a_file_of_a_detector_needs_its_prefix(tmp_path):
    state = {f'backbone.{name}': value for name, value in randomized(RESNET).items()}
    state['bbox_head.weight'] = torch.zeros(2, 2)
    path = tmp_path / 'detector.pth'
    with pytest.raises(UserError, match=r"set model.backbone.init_cfg.prefix='backbone\.' to read"):
        initialized(RESNET, state, path)
    loaded = initialized(RESNET, state, path, prefix='backbone.')
    assert torch.equal(loaded.conv1.weight, state['backbone.conv1.weight'])
    with pytest.raises(UserError, match="no tensors with names that begin with 'neck.'"):
        initialized(RESNET, state, path, prefix='neck.')


def test_files_of_deeper_and_of_shallower_models_are_refused(tmp_path):
    deep = dict(type='ResNet', depth=34, base_channels=8, stem_channels=8)
    states = {config['depth']: randomized(config) for config in (RESNET, deep)}
    with pytest.raises(UserError, match='another model than this ResNet'):
        initialized(deep, states[18], tmp_path / 'other.pth')
    with pytest.raises(UserError, match="deeper model .* has no 'layer1.2.conv1.weight'"):
        initialized(RESNET, states[34], tmp_path / 'other.pth')
    two = dict(RESNET, num_stages=2, out_indices=(1,), strides=(1, 2), dilations=(1, 1))
    cut = initialized(two, states[18], tmp_path / 'whole.pth')
    assert torch.equal(cut.conv1.weight, states[18]['conv1.weight'])


@pytest.mark.parametrize('config', [RESNET, SWIN, PVT, FPN])
@pytest.mark.parametrize(
    'content',
    [
        {'fc.weight': torch.zeros(5, 64), 'fc.bias': torch.zeros(5)},
        {'conv1.weight': torch.zeros(64, 3, 7, 7), 'layer1.0.conv1.weight': torch.zeros(64, 64)},
        {},
        dict(state_dict={}),
        dict(epoch=3),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, config, content):
    with pytest.raises(UserError, match='The weights .*other.pth') as caught:
        initialized(config, content, tmp_path / 'other.pth')
    assert 'model.backbone.init_cfg' in str(caught.value) and "''" not in str(caught.value)


def test_files_that_are_not_there_or_not_named(tmp_path):
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'absent.pth'))
    detector = Detector(dict(RESNET, init_cfg=[dict(type='Kaiming', layer='Conv2d'), init_cfg]))
    with pytest.raises(FileNotFoundError, match='absent.pth.*model.backbone.init_cfg=None'):
        with checked_weights(detector):
            pass
    detector = Detector(dict(RESNET, init_cfg=dict(type='Pretrained')))
    with pytest.raises(
        UserError, match='init_cfg of ResNet .* names? no|its checkpoint is no path'
    ):
        with checked_weights(detector):
            pass


def test_the_runner_checks_the_weights_of_every_model(tmp_path):
    torch.save({'other': torch.zeros(3, 3)}, tmp_path / 'other.pth')
    runner = toy_runner(tmp_path, val_dataloader=None, val_cfg=None, val_evaluator=None)
    runner.model.add_module('neck', MODELS.build(FPN))
    runner.model.neck.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'other.pth'))
    with pytest.raises(UserError, match='this FPN.*model.neck.init_cfg.checkpoint'):
        runner.train()
