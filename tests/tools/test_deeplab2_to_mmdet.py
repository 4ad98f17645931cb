"""deeplab2_to_mmdet.py: converted weights give the outputs of a slow network under TensorFlow's names; all are used, all of ours filled."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from cmt_deeplab.converters import DEEPLAB2, convert
from deeplab2_reference import Net, Variables, encoder, kmax_deeplab, max_deeplab_s
from mmdet.registry import MODELS
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
SUFFIX = '/.ATTRIBUTES/VARIABLE_VALUE'
MAX_S = 'max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py'
KMAX_R50 = 'kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py'
KMAX_AXIAL = 'kmax_deeplab/kmax-deeplab_axial-r50_8xb8-150k_coco-panoptic-641.py'
KMAX_CONVNEXT = 'kmax_deeplab/kmax-deeplab_convnext-t_8xb8-150k_coco-panoptic-641.py'
IMAGE = torch.randn(1, 65, 97, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def build(name: str, **options):
    config = Config.fromfile(ROOT / 'configs' / name)
    config.merge_from_dict(options)
    return MODELS.build(config.model).eval()


def through_a_file(variables: Variables, folder: Path) -> dict:
    """What the reader makes of a checkpoint that holds training's bookkeeping too."""
    path = folder / 'source.npz'
    slot = next(name for name in variables if name.endswith('gamma'))
    np.savez(
        path,
        **{f'{name}{SUFFIX}': value for name, value in variables.items()},
        **{
            f'{slot}/.OPTIMIZER_SLOT/optimizer/m{SUFFIX}': variables[slot],
            f'optimizer/iter{SUFFIX}': np.int64(7),
            f'save_counter{SUFFIX}': np.int64(1),
            f'global_step{SUFFIX}': np.int64(7),
        },
    )
    tensors, bookkeeping = DEEPLAB2.read(str(path))
    path.unlink()
    assert bookkeeping == 4 and set(tensors) == set(variables)
    return tensors


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape and theirs.std() > 0.05, (
        'the weights make a network that says something'
    )
    assert float((ours - theirs).abs().max()) < 1e-7 * float(theirs.abs().max())


@pytest.mark.parametrize(
    'config, options, network, kwargs',
    [
        (MAX_S, {}, max_deeplab_s, {}),
        (KMAX_R50, {}, kmax_deeplab, dict(backbone='r50')),
        (KMAX_AXIAL, {}, kmax_deeplab, dict(backbone='axial-r50')),
        (
            KMAX_CONVNEXT,
            {
                'model.panoptic_head.pixel_decoder.dilations': (1, 1, 2, 2),
                'model.panoptic_head.semantic_head.skip_act_cfg': dict(type='GELU'),
            },
            kmax_deeplab,
            dict(backbone='convnext-t'),
        ),
    ],
    ids=['max-s', 'kmax-r50', 'kmax-axial-r50', 'kmax-convnext-t'],
)
@torch.no_grad()
def test_outputs_are_those_of_the_source(config, options, network, kwargs, tmp_path):
    if 'convnext' in config:
        pytest.importorskip('timm')
    variables, model = Variables(), build(config, **options)
    masks, classes, semantic, coarsest = network(variables, IMAGE, **kwargs)
    conversion = convert(through_a_file(variables, tmp_path), model, DEEPLAB2)
    assert conversion.unused == [] and conversion.unfilled == []
    model.load_state_dict(conversion.state_dict, strict=True)
    model.double()

    image = IMAGE.permute(0, 3, 1, 2)
    our_masks, our_classes = model(image, mode='tensor')
    assert_close(our_masks, masks.permute(0, 3, 1, 2))
    assert_close(our_classes, classes)
    features = list(model.extract_feat(image))
    if (
        model.panoptic_head.semantic_stage is not None
    ):  # MaX-DeepLab's stage 5 is not our backbone's
        features.append(coarsest.permute(0, 3, 1, 2))
    things_stuff_void = semantic.permute(0, 3, 1, 2)[:, [*range(1, 134), 0]]
    assert_close(model.panoptic_head.semantic_head(features), things_stuff_void)


@pytest.mark.parametrize(
    'config, act, inception, stages, prefix',
    [
        (MAX_S, torch.relu, True, 3, 'backbone.'),
        (KMAX_AXIAL, torch.nn.functional.gelu, True, 4, 'backbone.'),
        (KMAX_R50, torch.relu, False, 4, 'backbone.'),
    ],
    ids=['max-s', 'axial-r50', 'r50'],
)
@torch.no_grad()
def test_imagenet_backbone_is_a_pretrained_init_cfg(
    config, act, inception, stages, prefix, tmp_path
):
    variables, model = Variables(), build(config)
    stride = 16 if config == MAX_S else 32
    theirs, _ = encoder(
        Net(variables, act), IMAGE, inception=inception, axial=inception, output_stride=stride
    )
    conversion = convert(through_a_file(variables, tmp_path), model, DEEPLAB2)
    assert conversion.unused == []
    assert all(re.match('panoptic_head', name) for name in conversion.unfilled)
    torch.save(dict(state_dict=conversion.state_dict), tmp_path / 'backbone.pth')

    cfg = Config.fromfile(ROOT / 'configs' / config).model.backbone
    backbone = MODELS.build(
        dict(
            cfg,
            init_cfg=dict(
                type='Pretrained', checkpoint=str(tmp_path / 'backbone.pth'), prefix=prefix
            ),
        )
    )
    backbone.init_weights()
    ours = backbone.double().eval()(IMAGE.permute(0, 3, 1, 2))
    assert len(ours) == stages
    for our, their in zip(ours, theirs):
        assert_close(our, their.permute(0, 3, 1, 2))
    if config == MAX_S:  # the source's stage 5 belongs to our pixel decoder
        model.load_state_dict(conversion.state_dict, strict=False)
        decoder, x = model.double().panoptic_head.pixel_decoder, ours[2]
        for i in range(3):
            x = decoder.blocks[i](x)
        assert_close(x, theirs[3].permute(0, 3, 1, 2))
