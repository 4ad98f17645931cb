"""kmax-deeplab's weights give the outputs of a slow network under its names; what is refused."""

from pathlib import Path

import pytest
import torch
from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.converters import KMAX_PYTORCH, convert, convert_file
from kmax_pytorch_backbones import ConvNeXtTiny, ResNet50
from kmax_pytorch_reference import KMaXDeepLab
from mmengine.config import Config
from torch import nn
from weights_by_rule import build_for_weights, by_rule

ROOT = Path(__file__).resolve().parents[2]
R50 = 'configs/kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
CONVNEXT = 'configs/kmax_deeplab/kmax-deeplab_convnext-t_8xb8-150k_coco-panoptic-641.py'
R50_CITY = 'configs/kmax_deeplab/kmax-deeplab_r50-tf_8xb4-60k_cityscapes-panoptic-1025x2049.py'
CONVNEXT_CITY = R50_CITY.replace('r50-tf', 'convnext-t')
UNDILATED = {'model.panoptic_head.pixel_decoder.dilations': (1, 1, 1, 1, 1)}
R50_OF_PYTORCH = {
    **UNDILATED,
    'model.panoptic_head.pixel_decoder.project_equal_skips': False,
    'model.backbone.with_max_pool': True,
    'model.backbone.with_stem_output': 'pooled',
    'model.backbone.pre_activation_outputs': False,
}
LAYERS = 'sem_seg_head.predictor._kmax_transformer_layers'
IMAGE = torch.randn(1, 3, 65, 97, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def config_of(name: str, **options) -> Config:
    config = Config.fromfile(ROOT / name)
    config.merge_from_dict(options)
    return config


def fill(network: nn.Module) -> nn.Module:
    """The network with a weight for each of its names."""
    network.to_empty(device='cpu')
    for name, tensor in network.state_dict().items():
        leaf, shape = name.rsplit('.', 1)[-1], tuple(tensor.shape)
        if leaf == 'num_batches_tracked':
            tensor.fill_(1000)
            continue
        fan_in = 0 if len(shape) < 2 or '_embeddings' in name else tensor[0].numel()
        fan_in = 1 if '_cluster_centers' in name else fan_in
        positive = leaf in ('running_var', 'gamma') or (leaf == 'weight' and len(shape) == 1)
        tensor.copy_(by_rule(name, shape, fan_in=fan_in, positive=positive))
    return network


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05, 'the weights make a network that says something'
    assert float((ours - theirs).abs().max()) < 1e-7 * float(theirs.abs().max())


@pytest.mark.parametrize(
    'config, options, backbone',
    [
        (R50, {}, ResNet50),
        (CONVNEXT, {}, ConvNeXtTiny),
        (R50_CITY, R50_OF_PYTORCH, ResNet50),
        (CONVNEXT_CITY, UNDILATED, ConvNeXtTiny),
    ],
    ids=['r50', 'convnext-t', 'r50-cityscapes', 'convnext-t-cityscapes'],
)
@torch.no_grad()
def test_outputs_are_those_of_the_source(config, options, backbone):
    if backbone is ConvNeXtTiny:
        pytest.importorskip('timm')
    cityscapes = 'cityscapes' in config
    with torch.device('meta'):
        source = KMaXDeepLab(backbone(), cityscapes)
    fill(source)
    model = build_for_weights(config_of(config, **options).model)
    conversion = convert(source.state_dict(), model, KMAX_PYTORCH)
    assert conversion.unused == [] and conversion.unfilled == []
    model.load_state_dict(conversion.state_dict, strict=True, assign=True)
    assert model.panoptic_head.transformer_decoder.predictor.mask_norm.num_batches_tracked == 1000

    model.double().eval()
    masks, classes, semantic = source.double()(IMAGE)
    our_masks, our_classes = model(IMAGE, mode='tensor')
    our_semantic = model.panoptic_head.semantic_head(model.extract_feat(IMAGE))
    assert_close(our_masks, masks)
    if cityscapes:  # the source's classes are in the order of train ids: stuff, things, void
        things_stuff = [*range(11, 19), *range(11)]
        classes, semantic = classes[..., [*things_stuff, 19]], semantic[:, things_stuff]
        assert bool((our_semantic[:, 19] == -100).all()), 'the source has no void'
        our_semantic = our_semantic[:, :19]
    assert_close(our_classes, classes)
    assert_close(our_semantic, semantic)


@pytest.fixture(scope='module')
def r50():
    """Public names and shapes, and a network that they fit."""
    with torch.device('meta'):
        source = KMaXDeepLab(ResNet50()).state_dict()
    return source, build_without_values(config_of(R50).model)


def converted(source, model):
    return convert(source, model, KMAX_PYTORCH, path='SRC', config='CONFIG')


def test_reports_what_is_not_used_and_not_filled(r50):
    source, model = r50
    extra = dict(
        source, pixel_mean=torch.zeros(3), **{'sem_seg_head.unheard_of.weight': torch.zeros(2)}
    )
    without = {
        name: value for name, value in extra.items() if '_auxiliary_semantic_predictor' not in name
    }
    conversion = converted(without, model)
    assert conversion.unused == ['pixel_mean', 'sem_seg_head.unheard_of.weight']
    assert conversion.unfilled == [name for name in model.state_dict() if 'semantic_head' in name]
    assert conversion.parts == ['backbone', 'pixel decoder', 'transformer decoder']
    assert (
        '    pixel_mean\n' in conversion.report()
        and 'names of the network not filled: 86' in conversion.report()
    )


def test_a_network_of_another_detector_takes_what_it_has(r50):
    source, _ = r50
    name = 'configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
    model = build_without_values(config_of(name).model)
    conversion = converted(source, model)
    assert conversion.parts == ['backbone', 'pixel decoder', 'semantic head']
    assert all('transformer_decoder' in name for name in conversion.unfilled)
    assert all('sem_seg_head.predictor' in name for name in conversion.unused)


def changed(source, changes):
    return {name: value for name, value in {**source, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    'changes, words',
    [
        (
            {'backbone.res3.0.conv1.weight': torch.zeros(128, 255, 1, 1)},
            r"'backbone.res3.0.conv1.weight' has shape \(128, 255, 1, 1\)",
        ),
        (
            {'backbone.res4.3.conv2.norm.bias': None},
            r"of the backbone it lacks 'backbone.res4.3.conv2.norm.bias' \(1 of",
        ),
        (
            {'sem_seg_head.predictor._cluster_centers.weight': None},
            r"of the transformer decoder it lacks 'sem_seg_head",
        ),
        (
            {f'{LAYERS}.0._predcitor._transformer_class_head.conv.bias': torch.zeros(151)},
            r'SRC has an unknown order of classes: .*_transformer_class_head.conv.bias. has 151',
        ),
        (
            {'backbone.res4.6.conv1.weight': torch.zeros(256, 1024, 1, 1)},
            'a larger network than CONFIG',
        ),
        ({f'{LAYERS}.6._query_conv3_bn.conv.weight': torch.zeros(256, 256, 1)}, 'a larger network'),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(r50, changes, words):
    with pytest.raises(ValueError, match=words):
        converted(changed(r50[0], changes), r50[1])
    with pytest.raises(
        ValueError,
        match='SRC is a checkpoint of another network than CONFIG: of the backbone it lacks',
    ):
        converted(dict(weight=torch.zeros(3)), r50[1])


@pytest.mark.parametrize(
    'config, options, words',
    [
        (
            'configs/kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py',
            {},
            'with_max_pool=True',
        ),
        (
            R50,
            {'model.panoptic_head.pixel_decoder.dilations': (1, 1, 2, 2)},
            'dilations=\\(1, 1, 1, 1\\)',
        ),
        (R50, {'model.backbone.pre_activation_outputs': True}, 'pre_activation_outputs=False'),
        (
            R50,
            {'model.num_stuff_classes': 40},
            r"_transformer_class_head.conv.weight' has shape \(134, 256, 1\)",
        ),
        (
            'configs/kmax_deeplab/kmax-deeplab_axial-r50_8xb8-150k_coco-panoptic-641.py',
            {},
            'without the backbone of CONFIG',
        ),
    ],
)
def test_a_network_of_another_form_is_refused(r50, config, options, words):
    model = build_without_values(config_of(config, **options).model)
    with pytest.raises(ValueError, match=words):
        converted(r50[0], model)


def test_a_file_becomes_a_checkpoint_of_mmengine(r50, tmp_path):
    source = {
        name: torch.zeros(value.shape)
        for name, value in r50[0].items()
        if name.startswith('backbone.')
    }
    torch.save(dict(model=source, iteration=150000), tmp_path / 'source.pth')
    paths = str(tmp_path / 'source.pth'), str(tmp_path / 'made' / 'ours.pth')
    conversion = convert_file(*paths, config_of(R50), KMAX_PYTORCH)
    written = torch.load(paths[1], weights_only=True)
    assert set(written['state_dict']) == set(conversion.state_dict)
    assert written['meta']['converted_from'] == 'source.pth'
    assert conversion.parts == written['meta']['parts'] == ['backbone']
