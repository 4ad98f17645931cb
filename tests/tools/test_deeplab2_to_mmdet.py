"""deeplab2's weights give the outputs of a slow network under TensorFlow's names.

All tensors of the source are used and all of ours filled.
"""

from pathlib import Path

import pytest
import torch
from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.converters import DEEPLAB2, convert
from cmt_deeplab.converters.read import pytorch_axes
from deeplab2_reference import Net, Variables, encoder, kmax_deeplab, max_deeplab_l, max_deeplab_s
from mmengine.config import Config
from weights_by_rule import build_for_weights

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MAX_S = 'max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py'
MAX_L = 'max_deeplab/max-deeplab-l_8xb8-100k_coco-panoptic-641.py'
KMAX_R50 = 'kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py'
KMAX_AXIAL = 'kmax_deeplab/kmax-deeplab_axial-r50_8xb8-150k_coco-panoptic-641.py'
KMAX_CONVNEXT = 'kmax_deeplab/kmax-deeplab_convnext-t_8xb8-150k_coco-panoptic-641.py'
R50_CITY = 'kmax_deeplab/kmax-deeplab_r50-tf_8xb4-60k_cityscapes-panoptic-1025x2049.py'
CONVNEXT_CITY = 'kmax_deeplab/kmax-deeplab_convnext-t_8xb4-60k_cityscapes-panoptic-1025x2049.py'
CONVNEXT_OF_TENSORFLOW = {
    'model.panoptic_head.pixel_decoder.dilations': (1, 1, 2, 2),
    'model.panoptic_head.semantic_head.skip_act_cfg': dict(type='GELU'),
}
IMAGE = torch.randn(1, 65, 97, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def model_config(name: str, **options):
    config = Config.fromfile(CONFIGS / name)
    config.merge_from_dict(options)
    return config.model


def as_read(variables: Variables) -> dict:
    """The tensors as the reader gives them, in PyTorch's order of axes."""
    device = variables.device
    return {
        name: torch.empty(pytorch_axes(name, value).shape, device='meta')
        if device == 'meta'
        else torch.from_numpy(pytorch_axes(name, value))
        for name, value in variables.items()
    }


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.05, 'the weights make a network that says something'
    assert float((ours - theirs).abs().max()) < 1e-7 * float(theirs.abs().max())


@pytest.mark.parametrize(
    'config, options, network, kwargs',
    [
        (MAX_S, {}, max_deeplab_s, {}),
        (KMAX_R50, {}, kmax_deeplab, dict(backbone='r50')),
        (KMAX_AXIAL, {}, kmax_deeplab, dict(backbone='axial-r50')),
        (KMAX_CONVNEXT, CONVNEXT_OF_TENSORFLOW, kmax_deeplab, dict(backbone='convnext-t')),
        (R50_CITY, {}, kmax_deeplab, dict(backbone='r50', cityscapes=True)),
        (CONVNEXT_CITY, {}, kmax_deeplab, dict(backbone='convnext-t', cityscapes=True)),
    ],
    ids=['max-s', 'r50', 'axial-r50', 'convnext-t', 'r50-cityscapes', 'convnext-t-cityscapes'],
)
@torch.no_grad()
def test_outputs_are_those_of_the_source(config, options, network, kwargs):
    if 'convnext' in config:
        pytest.importorskip('timm')
    variables, model = Variables(), build_for_weights(model_config(config, **options))
    masks, classes, semantic, coarsest = network(variables, IMAGE, **kwargs)
    conversion = convert(as_read(variables), model, DEEPLAB2)
    assert conversion.unused == [] and conversion.unfilled == []
    model.load_state_dict(conversion.state_dict, strict=True, assign=True)
    model.double().eval()

    image = IMAGE.permute(0, 3, 1, 2)
    our_masks, our_classes = model(image, mode='tensor')
    assert_close(our_masks, masks.permute(0, 3, 1, 2))
    assert_close(our_classes, classes)
    features = list(model.extract_feat(image))
    if model.panoptic_head.semantic_stage is not None:  # MaX-DeepLab's stage 5 is in our decoder
        features.append(coarsest.permute(0, 3, 1, 2))
    ours, theirs = model.panoptic_head.semantic_head(features), semantic.permute(0, 3, 1, 2)
    if kwargs.get('cityscapes'):
        assert bool((ours[:, 19] == -100).all()), 'the source has no void'
        assert_close(ours[:, :19], theirs[:, [*range(11, 19), *range(11)]])
    else:
        assert_close(ours, theirs[:, [*range(1, 134), 0]])


def backbone_of(variables: Variables, config: str, image=IMAGE):
    """The features of an ImageNet backbone of deeplab2."""
    act = torch.nn.functional.gelu if config == KMAX_AXIAL else torch.relu
    axial, stride = config != KMAX_R50, 16 if config == MAX_S else 32
    net = Net(variables, act)
    return encoder(net, image, inception=axial, axial=axial, output_stride=stride)[0][1:]


@pytest.mark.parametrize('config', [MAX_S, KMAX_AXIAL, KMAX_R50], ids=['max-s', 'axial', 'r50'])
@torch.no_grad()
def test_imagenet_backbone_fills_no_head(config):
    variables = Variables(device='meta')
    backbone_of(variables, config, IMAGE.to('meta'))
    conversion = convert(as_read(variables), build_without_values(model_config(config)), DEEPLAB2)
    assert conversion.unused == []
    assert all(name.startswith('panoptic_head.') for name in conversion.unfilled)


@pytest.mark.parametrize('config, stages', [(MAX_S, 3), (KMAX_R50, 4)], ids=['max-s', 'r50'])
@torch.no_grad()
def test_imagenet_backbone_is_a_pretrained_init_cfg(config, stages, tmp_path):
    variables, model = Variables(), build_without_values(model_config(config))
    theirs = backbone_of(variables, config)
    conversion = convert(as_read(variables), model, DEEPLAB2)
    path = str(tmp_path / 'backbone.pth')
    torch.save(dict(state_dict=conversion.state_dict), path)

    weights = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
    backbone = build_for_weights(dict(model_config(config).backbone, init_cfg=weights))
    backbone.init_weights()
    ours = backbone.double().eval()(IMAGE.permute(0, 3, 1, 2))
    assert len(ours) == stages
    for our, their in zip(ours, theirs):
        assert_close(our, their.permute(0, 3, 1, 2))
    if config == MAX_S:  # the source's stage 5 belongs to our pixel decoder
        model.load_state_dict(conversion.state_dict, strict=False, assign=True)
        x = ours[2]
        for blocks in model.panoptic_head.pixel_decoder.blocks[:3]:
            x = blocks.double().eval()(x)
        assert_close(x, theirs[3].permute(0, 3, 1, 2))


def test_every_name_of_max_deeplab_l():
    """No test can hold the weights."""
    variables = Variables(device='meta')
    max_deeplab_l(variables, torch.empty(1, 65, 65, 3, dtype=torch.float64, device='meta'))
    source, model = as_read(variables), build_without_values(model_config(MAX_L))
    conversion = convert(source, model, DEEPLAB2)
    assert conversion.unused == [] and conversion.unfilled == [] and len(conversion.parts) == 5
    assert sum(value.numel() for value in source.values()) > 450_000_000
