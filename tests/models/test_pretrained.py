"""Weights through init_cfg: names of every code base, one sentence for a file that is wrong."""

import importlib.util
import logging
from urllib.error import URLError

import pytest
import torch
from cmt_deeplab.errors import user_sentence
from mmdet.models.backbones import SwinTransformer
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.logging import MMLogger
from torch import nn
from torch.nn import functional as F

KEY, SCRATCH = 'model.backbone.init_cfg.checkpoint', '--cfg-options model.backbone.init_cfg=None'
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason='the optional package timm is not installed'
)
needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec('torchvision') is None, reason='torchvision is not installed'
)
SWIN = dict(
    type='PanopticSwinTransformer',
    embed_dims=12,
    depths=(2, 2, 2, 2),
    num_heads=(1, 2, 3, 6),
    window_size=4,
    mlp_ratio=2,
    drop_path_rate=0.0,
)


def filled(cfg: dict, state: dict, path, **init_cfg) -> nn.Module:
    """The backbone, its weights read from a file of ``state``."""
    torch.save(state, path)
    backbone = MODELS.build(
        dict(cfg, init_cfg=dict(type='Pretrained', checkpoint=str(path), **init_cfg))
    )
    backbone.init_weights()
    backbone.eval()  # returns None in mmdet's networks
    return backbone


def randomized(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 1.5) if name.endswith(
                'running_var'
            ) or value.ndim == 1 else nn.init.normal_(value, std=0.1)
    network.eval()
    return network


@pytest.fixture
def log():
    """Messages of mmengine's logger."""
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)


@needs_torchvision
@pytest.mark.parametrize('wrapping', ['torchvision', 'mmpretrain', 'distributed', 'detector'])
def test_resnet_reads_every_wrapping(tmp_path, log, wrapping):
    import torchvision

    source = randomized(torchvision.models.resnet18(num_classes=5))
    state = source.state_dict()
    if wrapping == 'mmpretrain':
        state = {
            f'backbone.{k}' if not k.startswith('fc.') else f'head.{k}': v for k, v in state.items()
        }
        state = dict(meta=dict(epoch=1), state_dict=state)
    elif wrapping == 'distributed':
        state = dict(state_dict={f'module.{k}': v for k, v in state.items()}, epoch=3)
    elif wrapping == 'detector':
        state = dict(
            state_dict={
                **{f'backbone.{k}': v for k, v in state.items()},
                'panoptic_head.x': torch.zeros(1),
            }
        )
    norm = dict(type='PanopticSyncBN', eps=1e-5)
    backbone = filled(
        dict(type='PanopticResNet', depth=18, norm_cfg=norm),
        state,
        tmp_path / 'weights.pth',
        **(dict(prefix='backbone.') if wrapping == 'detector' else {}),
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        features = source.layer4(
            source.layer3(
                source.layer2(
                    source.layer1(source.maxpool(source.relu(source.bn1(source.conv1(x)))))
                )
            )
        )
        torch.testing.assert_close(backbone(x)[-1], features)
    (line,) = (message for message in log if 'tensors from' in message)
    assert '100 of 100' in line and 'not found there: none' in line and '\n' not in line
    assert ('fc.weight' in line.split('not used')[1]) == (
        wrapping in ('torchvision', 'distributed', 'detector')
    )


@needs_timm
@pytest.mark.parametrize('name', ['resnet50', 'resnet50d'])
def test_resnet_reads_timm(tmp_path, name):
    import timm

    source = randomized(timm.create_model(name, pretrained=False, num_classes=3))
    form = dict(deep_stem=True, avg_down=True) if name.endswith('d') else {}
    backbone = filled(
        dict(
            type='PanopticResNet', depth=50, norm_cfg=dict(type='PanopticSyncBN', eps=1e-5), **form
        ),
        source.state_dict(),
        tmp_path / 'weights.pth',
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            backbone(x)[-1], source.forward_features(x), rtol=1e-4, atol=1e-4
        )


def normed(features) -> list:
    """Features (B, C, H, W) under the outputs' norms as they are at the start."""
    return [F.layer_norm(f.permute(0, 2, 3, 1), f.shape[1:2]).permute(0, 3, 1, 2) for f in features]


def timm_swin():
    import timm

    source = timm.create_model(
        'swin_tiny_patch4_window7_224',
        pretrained=False,
        img_size=256,
        window_size=4,
        embed_dim=12,
        depths=(2,) * 4,
        num_heads=(1, 2, 3, 6),
        mlp_ratio=2,
        num_classes=3,
    )
    return randomized(source)


def check_swin(backbone, source):
    x = torch.randn(1, 3, 256, 256)  # mmdet shifts windows that fill the map, the others do not
    with torch.no_grad():
        expected = source.forward_intermediates(x, intermediates_only=True)
        for feature, reference in zip(backbone(x), normed(expected)):
            torch.testing.assert_close(feature, reference, rtol=1e-4, atol=1e-4)


@needs_timm
def test_swin_reads_timm(tmp_path):
    source = timm_swin()
    check_swin(filled(SWIN, source.state_dict(), tmp_path / 'weights.pth'), source)


@needs_timm
def test_swin_reads_its_authors_and_mmpretrain(tmp_path):
    source = timm_swin()
    authors = {}
    for name, value in source.state_dict().items():
        parts = name.split('.')
        if 'downsample' in parts:
            parts[1] = str(int(parts[1]) - 1)
        authors['.'.join(parts).replace('head.fc', 'head')] = value
    backbone = filled(SWIN, dict(model=authors), tmp_path / 'authors.pth')
    check_swin(backbone, source)
    state = {
        f'backbone.{name}': value
        for name, value in backbone.state_dict().items()
        if not name.startswith(('norm0', 'norm1', 'norm2'))
    }
    check_swin(
        filled(
            SWIN,
            dict(state_dict={**state, 'head.fc.weight': torch.zeros(3, 96)}),
            tmp_path / 'mmpretrain.pth',
        ),
        source,
    )
    theirs = SwinTransformer(
        **{key: value for key, value in SWIN.items() if key != 'type'},
        convert_weights=True,
        init_cfg=ConfigDict(type='Pretrained', checkpoint=str(tmp_path / 'authors.pth')),
    )
    theirs.init_weights()  # mmdet's own conversion gives the same network
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(backbone.state_dict()[name], value)


@needs_torchvision
def test_swin_reads_torchvision(tmp_path):
    from torchvision.models.swin_transformer import SwinTransformer as Source

    source = randomized(
        Source([4, 4], 12, [2, 2, 2, 2], [1, 2, 3, 6], [4, 4], mlp_ratio=2, num_classes=3)
    )
    backbone = filled(SWIN, source.state_dict(), tmp_path / 'weights.pth')
    x = torch.randn(1, 3, 256, 256)  # mmdet shifts windows that fill the map, the others do not
    with torch.no_grad():
        expected, feature = [], x
        for index, block in enumerate(source.features):
            feature = block(feature)
            if index % 2:
                expected.append(feature.permute(0, 3, 1, 2))
        for feature, reference in zip(backbone(x), normed(expected)):
            torch.testing.assert_close(feature, reference, rtol=1e-4, atol=1e-4)


@needs_timm
def test_swin_resizes_position_biases_of_another_window(tmp_path):
    backbone = filled(dict(SWIN, window_size=7), timm_swin().state_dict(), tmp_path / 'weights.pth')
    assert (
        backbone.stages[0].blocks[0].attn.w_msa.relative_position_bias_table.abs().max() > 0.2
    )  # its start has a deviation of 0.02


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='PanopticResNet', depth=18, base_channels=8, stem_channels=8),
        SWIN,
        dict(type='AxialResNet', num_blocks=(1, 1, 1, 1), width=0.125),
        dict(type='MaXWideResNet', num_blocks=(1, 1, 1)),
        pytest.param(dict(type='TimmBackbone', model_name='convnext_atto'), marks=needs_timm),
    ],
)
def test_every_backbone_reads_its_own_names_and_refuses_others(tmp_path, cfg):
    source = randomized(MODELS.build(cfg))
    state = source.state_dict()
    own = filled(
        cfg,
        dict(state_dict={f'backbone.{name}': value for name, value in state.items()}),
        tmp_path / 'own.pth',
    )
    for name, value in own.state_dict().items():
        torch.testing.assert_close(value, state[name])
    with pytest.raises(ValueError, match='another model than this .*: 0 of .*does not') as caught:
        filled(cfg, dict(state_dict={'other.weight': torch.zeros(2)}), tmp_path / 'other.pth')
    assert (
        KEY in str(caught.value)
        and SCRATCH in str(caught.value)
        and user_sentence(caught.value) == str(caught.value)
    )
    half = dict(list(state.items())[: len(state) // 2])
    with pytest.raises(ValueError, match='another model'):
        filled(cfg, half, tmp_path / 'half.pth')


@pytest.mark.parametrize('content', [torch.zeros(3), [1, 2], dict(epoch=1)])
def test_a_file_without_tensors_by_name_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match='0 of'):
        filled(dict(type='PanopticResNet', depth=18), content, tmp_path / 'weights.pth')


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / 'weights.pth').write_text('<html>not found</html>')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth'))
    backbone = MODELS.build(dict(type='PanopticResNet', depth=18, init_cfg=init_cfg))
    with pytest.raises(ValueError, match='weights.pth is damaged'):
        backbone.init_weights()


@pytest.mark.parametrize(
    'source',
    [
        'torchvision://resnet50',
        'torchvision://no_such_model',
        'https://example.org/x.pth',
        'absent.pth',
    ],
)
def test_offline_one_sentence_names_key_and_remedy(monkeypatch, source):
    def offline(*args, **kwargs):
        raise URLError(OSError(-2, 'Name or service not known'))

    monkeypatch.setattr('torch.hub.load_state_dict_from_url', offline)
    monkeypatch.setattr('mmengine.runner.checkpoint.load_url', offline)
    backbone = MODELS.build(
        dict(type='PanopticResNet', depth=50, init_cfg=dict(type='Pretrained', checkpoint=source))
    )
    with pytest.raises(FileNotFoundError) as caught:
        backbone.init_weights()
    sentence = user_sentence(caught.value)
    assert (
        sentence == str(caught.value)
        and source in sentence
        and KEY in sentence
        and SCRATCH in sentence
        and '\n' not in sentence
    )


def test_other_initializers_stay(tmp_path):
    weights = randomized(
        MODELS.build(dict(type='PanopticResNet', depth=18, base_channels=8, stem_channels=8))
    ).state_dict()
    del weights['bn1.weight']
    torch.save(weights, tmp_path / 'weights.pth')
    backbone = MODELS.build(
        dict(
            type='PanopticResNet',
            depth=18,
            base_channels=8,
            stem_channels=8,
            init_cfg=[
                dict(type='Pretrained', checkpoint=str(tmp_path / 'weights.pth')),
                dict(type='Constant', val=3.0, layer='PanopticSyncBN'),
            ],
        )
    )
    backbone.init_weights()
    assert (backbone.bn1.weight == 3).all() and torch.equal(
        backbone.conv1.weight, weights['conv1.weight']
    )
