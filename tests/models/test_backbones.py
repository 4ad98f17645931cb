"""Backbones: shapes at any size, published sizes, the forms of the sources, weights of files."""

import importlib.util
import sys

import pytest
import torch
from cmt_deeplab.models.backbones import AxialResNet, PanopticResNet, TimmBackbone
from cmt_deeplab.models.blocks.residual_blocks import AxialBlock, BottleneckBlock
from mmdet.models.backbones import ResNet
from mmdet.registry import MODELS
from torch import nn

TINY = dict(num_blocks=(1, 1, 2, 1), width=0.125)
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec('timm') is None, reason='the optional package timm is not installed'
)


def _parameters(module):
    return sum(p.numel() for p in module.parameters())


def _sizes(features):
    return [tuple(feature.shape[2:]) for feature in features]


@pytest.mark.parametrize('size', [(65, 97), (64, 96), (50, 35)])
@pytest.mark.parametrize('output_stride', [16, 32])
def test_axial_resnet_shapes(size, output_stride):
    backbone = AxialResNet(output_stride=output_stride, with_stem_output=True, **TINY).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, *size))
    strides = (2, 4, 8, 16, output_stride)
    assert _sizes(features) == [(-(-size[0] // s), -(-size[1] // s)) for s in strides]
    assert tuple(feature.shape[1] for feature in features) == backbone.out_channels


def test_axial_resnet_has_the_published_size():
    """kMaX-DeepLab Axial-R50 less kMaX-DeepLab R50, plus ResNet-50: 41.34 M."""
    with torch.device('meta'):
        backbone = AxialResNet()
    assert _parameters(backbone) == 74_415_512 - 56_580_120 + 23_508_032
    assert backbone.out_channels == (256, 512, 1024, 2048)


def test_axial_blocks_and_drop_path_are_where_deeplab2_has_them():
    backbone = AxialResNet(**{**TINY, 'num_blocks': (2, 2, 3, 2)}, drop_path=0.2)
    kinds = [
        [type(block) for block in getattr(backbone, f'stage{stage}')] for stage in (2, 3, 4, 5)
    ]
    assert kinds[:2] == [[BottleneckBlock] * 2] * 2
    assert kinds[2] == [BottleneckBlock, AxialBlock, AxialBlock]
    assert kinds[3] == [AxialBlock, AxialBlock]

    def drops(module):
        return [
            [block.drop_path.drop_prob for block in getattr(module, f'stage{stage}')]
            for stage in (2, 3, 4, 5)
        ]

    assert drops(backbone) == [[0, 0], [0, 0], [0, 0.2, 0.2], [0.2, 0.2]]
    linear = AxialResNet(
        **{**TINY, 'num_blocks': (2, 2, 3, 2)}, drop_path=0.2, drop_path_schedule='linear'
    )
    expected = [[0, 0], [0, 0], [0, 0.15, 0.15], [0.15, 0.2]]
    assert [pytest.approx(stage) for stage in expected] == drops(linear)


def test_axial_resnet_output_forms():
    torch.manual_seed(0)
    backbone = AxialResNet(**TINY, act_cfg=dict(type='GELU')).eval()
    x = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        activated = backbone(x)
        backbone.pre_activation_outputs = True
        before = backbone(x)
    for after_feature, feature in zip(activated, before):
        torch.testing.assert_close(nn.functional.gelu(feature), after_feature)
    partial = AxialResNet(**TINY, out_indices=(1, 2))
    assert not hasattr(partial, 'stage5')
    assert [f.shape[1] for f in partial(x)] == list(partial.out_channels) == [64, 128]


def test_axial_resnet_trains_with_batch_of_one_and_every_parameter_gets_a_gradient():
    backbone = AxialResNet(**TINY, pre_activation_outputs=True, drop_path=0.0)
    for name, parameter in backbone.named_parameters():
        if name.endswith('expand.norm.weight'):  # 0 at the start: nothing behind it would move
            nn.init.ones_(parameter)
    sum(feature.square().mean() for feature in backbone(torch.randn(1, 3, 65, 65))).backward()
    # shifts before a softmax over the memory or before a norm move nothing
    still = [
        n
        for n, p in backbone.named_parameters()
        if p.grad is None or not p.grad.isfinite().all() or not p.grad.abs().max() > 0
    ]
    assert still == []


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(num_blocks=(3, 4, 6)), 'num_blocks'),
        (dict(output_stride=12), 'output_stride'),
        (dict(drop_path_schedule='cosine'), 'linear'),
        (dict(out_indices=(0, 4)), 'out_indices'),
    ],
)
def test_axial_resnet_says_what_is_wrong(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AxialResNet(**kwargs)


@pytest.mark.parametrize(
    'kwargs', [dict(depth=18), dict(depth=50), dict(depth=50, deep_stem=True, avg_down=True)]
)
def test_panoptic_resnet_is_mmdets(kwargs):
    torch.manual_seed(0)
    ours = PanopticResNet(**kwargs, base_channels=16, stem_channels=16)
    theirs = ResNet(**kwargs, base_channels=16, stem_channels=16)
    ours.init_weights()
    for name, parameter in ours.named_parameters():
        if 'bn' in name:
            nn.init.uniform_(parameter, 0.5, 1.5)
    theirs.load_state_dict(ours.state_dict())
    for norm in theirs.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-3
    x = torch.randn(2, 3, 65, 33)
    with torch.no_grad():
        theirs.eval()  # returns None in mmdet
        expected = theirs(x)
        features = ours.eval()(x)
        ours.pre_activation_outputs = True
        before = ours(x)
    assert tuple(feature.shape[1] for feature in features) == ours.out_channels
    for a, b, c in zip(features, expected, before):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(c.relu(), b)
        assert c.min() < 0


def test_panoptic_resnet_without_pooling_and_with_stem():
    x = torch.randn(1, 3, 65, 33)
    backbone = PanopticResNet(
        depth=50,
        base_channels=16,
        stem_channels=16,
        with_max_pool=False,
        with_stem_output=True,
        pre_activation_outputs=True,
    )
    pooled = PanopticResNet(depth=50, base_channels=16, stem_channels=16)
    assert {k: v.shape for k, v in backbone.state_dict().items()} == {
        k: v.shape for k, v in pooled.state_dict().items()
    }
    features = backbone(x)
    assert _sizes(features) == [(33, 17), (17, 9), (9, 5), (5, 3), (3, 2)]
    assert (
        tuple(feature.shape[1] for feature in features)
        == backbone.out_channels
        == (16, 64, 128, 256, 512)
    )
    assert features[0].min() < 0
    assert backbone.layer1[0].conv2.stride == (2, 2)
    with torch.device('meta'):
        assert _parameters(PanopticResNet(depth=50)) == 23_508_032


def test_panoptic_resnet_with_the_pooled_stem_of_kmax_deeplab():
    """kmax-deeplab on Cityscapes: C2, the stem behind the max pooling, C3, C4, C5."""
    backbone = PanopticResNet(
        depth=18, base_channels=8, stem_channels=16, with_stem_output='pooled'
    ).eval()
    features = backbone(torch.randn(1, 3, 65, 33))
    assert _sizes(features) == [(17, 9), (17, 9), (9, 5), (5, 3), (3, 2)]
    assert tuple(f.shape[1] for f in features) == backbone.out_channels == (8, 16, 16, 32, 64)
    with pytest.raises(ValueError, match="'pooled' of PanopticResNet is the form of kmax-deeplab"):
        PanopticResNet(depth=18, with_stem_output='pooled', pre_activation_outputs=True)


@pytest.mark.filterwarnings('ignore:torch.utils.checkpoint')  # the call inside mmdet's blocks
def test_panoptic_resnet_checkpointed_gradients_are_the_same():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 33, 33)
    gradients = []
    state = None
    for with_cp in (False, True):
        backbone = PanopticResNet(
            depth=18, base_channels=8, stem_channels=8, pre_activation_outputs=True, with_cp=with_cp
        )
        state = state or backbone.state_dict()
        backbone.load_state_dict(state)
        sum(feature.square().mean() for feature in backbone(x)).backward()
        gradients.append([p.grad for p in backbone.parameters()])
    for plain, checkpointed in zip(*gradients):
        torch.testing.assert_close(plain, checkpointed)


def test_plugins_and_outputs_before_the_activation_exclude_each_other():
    plugins = [dict(cfg=dict(type='ContextBlock', ratio=1 / 16), position='after_conv3')]
    with pytest.raises(ValueError, match='plugins'):
        PanopticResNet(depth=50, pre_activation_outputs=True, plugins=plugins)


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='AxialResNet', **TINY),
        dict(type='PanopticResNet', depth=18, base_channels=8, stem_channels=8),
    ],
)
def test_backbones_serve_mmdets_models(cfg):
    backbone = MODELS.build(cfg)
    backbone.init_weights()
    neck = MODELS.build(
        dict(type='FPN', in_channels=list(backbone.out_channels), out_channels=8, num_outs=4)
    )
    assert _sizes(neck(backbone(torch.randn(2, 3, 64, 64)))) == [(16, 16), (8, 8), (4, 4), (2, 2)]


@needs_timm
@pytest.mark.parametrize('size', [(65, 33), (64, 32)])
@pytest.mark.parametrize('with_stem', [False, True])
def test_convnext_sizes(size, with_stem):
    """ceil(n / stride) positions, where timm's own network has 16 of 65; the stem has C2's size."""
    backbone = TimmBackbone(model_name='convnext_atto', with_stem_output=with_stem).eval()
    features = backbone(torch.randn(1, 3, *size))
    strides = (4, 4, 8, 16, 32) if with_stem else (4, 8, 16, 32)
    assert backbone.strides == strides
    assert _sizes(features) == [(-(-size[0] // s), -(-size[1] // s)) for s in strides]
    assert tuple(feature.shape[1] for feature in features) == backbone.out_channels


@needs_timm
def test_convnext_stem_is_the_feature_behind_its_norm():
    """deeplab2's and kmax-deeplab's ConvNeXt give the stem before the blocks of stage 2."""
    torch.manual_seed(0)
    backbone = TimmBackbone(model_name='convnext_atto', with_stem_output=True).eval()
    x = torch.randn(1, 3, 33, 33)
    with torch.no_grad():
        stem, c2, *_ = backbone(x)
        padded = nn.functional.pad(x, (1, 2, 1, 2))
        expected = backbone.model['stem_1'](
            nn.functional.conv2d(padded, *backbone.model['stem_0'].parameters(), stride=4)
        )
        torch.testing.assert_close(stem, expected)
        torch.testing.assert_close(c2, backbone.model['stages_0'](stem))
    with pytest.raises(ValueError, match='with_stem_output of TimmBackbone is for ConvNeXt'):
        TimmBackbone(model_name='resnet18', with_stem_output=True)


@needs_timm
def test_head_output_is_what_the_classifier_of_the_whole_network_reads(tmp_path):
    import timm

    torch.manual_seed(0)
    whole = timm.create_model('efficientnet_lite0').eval()
    torch.save(whole.state_dict(), tmp_path / 'whole.pth')
    backbone = TimmBackbone(
        model_name='efficientnet_lite0',
        with_head_output=True,
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'whole.pth')),
    ).eval()
    backbone.init_weights()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = backbone(x)
        torch.testing.assert_close(features[-1], whole.forward_features(x))
    assert tuple(feature.shape[1] for feature in features) == backbone.out_channels
    last = TimmBackbone(model_name='efficientnet_lite0', with_head_output=True, out_indices=(3, 4))
    assert last.out_channels == (112, 1280)
    for name, levels in (('resnet18', {}), ('efficientnet_lite0', dict(out_indices=(2, 3)))):
        with pytest.raises(ValueError, match='remove with_head_output'):
            TimmBackbone(model_name=name, with_head_output=True, **levels)


@needs_timm
def test_timm_levels_and_names():
    backbone = TimmBackbone(model_name='resnet18', out_indices=(1, 2, 3, 4))
    assert backbone.out_channels == (64, 128, 256, 512)
    with pytest.raises(ValueError, match='knows no model'):
        TimmBackbone(model_name='convnext_giant')
    with pytest.raises(ValueError, match='Pretrained'):
        TimmBackbone(model_name='resnet18', init_cfg=dict(type='Kaiming', layer='Conv2d'))


def test_without_timm_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ImportError, match=r'cmt-deeplab\[timm\]'):
        TimmBackbone(model_name='convnext_tiny')


def _author_names(state):
    """timm's ConvNeXt weights under the names of the ConvNeXt authors."""
    renamed = {}
    for key, value in state.items():
        parts = key.split('.')
        if parts[0] == 'stem':
            parts = ['downsample_layers', '0', *parts[1:]]
        elif parts[2] == 'downsample':
            parts = ['downsample_layers', parts[1], *parts[3:]]
        elif parts[2] == 'blocks':
            parts = ['stages', parts[1], *parts[3:]]
        key = '.'.join(parts).replace('conv_dw', 'dwconv').replace('mlp.fc', 'pwconv')
        renamed[key] = (
            value.flatten(1) if key.endswith(('pwconv1.weight', 'pwconv2.weight')) else value
        )
    return renamed


@needs_timm
@pytest.mark.parametrize('source', ['timm', 'authors', 'mmpretrain'])
def test_convnext_reads_weights_of_every_source(tmp_path, source):
    import timm

    model = timm.create_model('convnext_atto', pretrained=False)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    state = {key: value for key, value in model.state_dict().items() if not key.startswith('head')}
    path = str(tmp_path / 'weights.pth')
    if source == 'timm':
        torch.save(model.state_dict(), path)
    elif source == 'authors':
        torch.save(dict(model=_author_names(state)), path)
    else:
        names = {
            f'backbone.{k}'.replace('dwconv', 'depthwise_conv').replace(
                'pwconv', 'pointwise_conv'
            ): v
            for k, v in _author_names(state).items()
        }
        torch.save(dict(state_dict=names), path)
    backbone = MODELS.build(
        dict(
            type='TimmBackbone',
            model_name='convnext_atto',
            init_cfg=dict(type='Pretrained', checkpoint=path),
        )
    )
    backbone.init_weights()
    own = {key.replace('_', '.', 1): value for key, value in backbone.model.state_dict().items()}
    assert set(own) == set(state)
    for key, value in own.items():
        torch.testing.assert_close(value, state[key])


@needs_timm
def test_unreadable_or_foreign_weights(tmp_path):
    backbone = TimmBackbone(
        model_name='convnext_atto',
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'absent.pth')),
    )
    with pytest.raises(FileNotFoundError, match='absent.pth.*backbone.init_cfg.checkpoint'):
        backbone.init_weights()
    path = str(tmp_path / 'foreign.pth')
    torch.save(dict(state_dict=dict(weight=torch.zeros(2))), path)
    backbone = TimmBackbone(
        model_name='convnext_atto', init_cfg=dict(type='Pretrained', checkpoint=path)
    )
    with pytest.raises(ValueError, match='of another model'):
        backbone.init_weights()
