"""The recipes are those of deeplab2 and kmax-deeplab, read off what the configs build."""

import re
from functools import partial
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS, TRANSFORMS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from test_configs import LEAVES, name_of, without_weights
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
RECIPES = [
    path
    for path in LEAVES
    if path.parent.name != 'peers'
    and not path.stem.startswith('cmt-deeplab_r18')  # a few images learned for a trial
    and not path.stem.endswith('_shapes')
]
CITYSCAPES = [path for path in RECIPES if 'cityscapes' in path.stem]
ADE20K = [path for path in RECIPES if 'ade20k' in path.stem]
MAX = [path for path in RECIPES if path.parent.name == 'max_deeplab']
KMAX = [path for path in RECIPES if path.parent.name == 'kmax_deeplab']
CMT = [path for path in RECIPES if path.parent.name == 'cmt_deeplab']
PYTORCH = [
    path
    for path in KMAX
    if path not in CITYSCAPES and re.search('_r50_|convnext|dinov3', path.stem)
]


def each(paths):
    return pytest.mark.parametrize('path', paths, ids=name_of)


def read(path: Path) -> Config:
    return Config.fromfile(str(path))


def build(config: Config) -> nn.Module:
    """The model without memory for its parameters and without ImageNet weights."""
    if config.model.backbone.type.startswith('Timm'):
        pytest.importorskip('timm', reason='the optional package timm is not installed')
    with torch.device('meta'):
        return MODELS.build(without_weights(config.model))


def build_merge(config: Config) -> nn.Module:
    counts = {key: config.model[key] for key in ('num_things_classes', 'num_stuff_classes')}
    return MODELS.build(dict(config.model.postprocess, **counts))


def jitter_of(pipeline) -> dict:
    return next(part for part in pipeline if part['type'] == 'PanopticLargeScaleJitter')


def scales(config: Config) -> tuple:
    jitter = jitter_of(config.train_dataloader.dataset.pipeline)
    return tuple(jitter['scale_range']), jitter.get('scale_step')


@each(PYTORCH)
def test_kmax_in_the_form_of_pytorch(path):
    """bytedance/kmax-deeplab: no minimum areas and two resizes; INPUT.MIN_SCALE and MAX_SCALE."""
    config = read(path)
    merge = build_merge(config)
    assert merge.smallest_area == (0, 0)
    assert merge.two_step_resize and merge.strict_class_threshold and not merge.score_at_stride
    assert scales(config) == ((0.5 if path in ADE20K else 0.2, 2.0), None)
    assert config.optim_wrapper.optimizer.eps == 1e-8
    assert config.param_scheduler[0].start_factor == 0.001


@each([path for path in RECIPES if path not in PYTORCH])
def test_the_form_of_tensorflow(path):
    """deeplab2: scales in steps of 0.1, Keras' epsilon, the warm-up from 0; areas: stuff, thing."""
    config = read(path)
    ranges = {**dict.fromkeys(CITYSCAPES, (0.5, 2.0)), **dict.fromkeys(MAX, (0.5, 1.5))}
    assert scales(config) == (ranges.get(path, (0.3, 1.7)), 0.1)
    assert config.optim_wrapper.optimizer.eps == 1e-7
    assert config.param_scheduler[0].get('start_factor', 0) == 0
    if path in KMAX:
        merge = build_merge(config)
        assert merge.smallest_area == ((2048, 256) if path in CITYSCAPES else (6400, 400))
        assert merge.score_at_stride and not merge.two_step_resize


@each([*CMT, *KMAX])
def test_copy_paste_is_on_for_every_image(path):
    """Both sources: on each image, the partner through the same pipeline at half of the scales."""
    pipeline = read(path).train_dataloader.dataset.pipeline
    paste = next(part for part in pipeline if part['type'] == 'PanopticCopyPaste')
    built = TRANSFORMS.build(paste)
    assert built.prob == 1
    partner = next(t for t in built.pipeline.transforms if hasattr(t, 'scale_range'))
    low, high = jitter_of(pipeline)['scale_range']
    assert tuple(partner.scale_range) == pytest.approx((low / 2, high / 2))


@each(MAX)
def test_max_deeplab_pastes_nothing(path):
    pipeline = read(path).train_dataloader.dataset.pipeline
    assert 'PanopticCopyPaste' not in {part['type'] for part in pipeline}


@each(CITYSCAPES)
def test_semantic_loss_and_head_on_cityscapes(path):
    """deeplab2: no semantic decoder, the hardest 20 % of all pixels, small instances weigh 3."""
    config = read(path)
    model = build(config)
    head = model.panoptic_head.semantic_head
    assert (
        len(head.fusions) == 0 and head.head[0].conv.in_channels == model.backbone.out_channels[-1]
    )
    loss = MODELS.build(config.model.criterion.losses.semantic)
    assert (loss.num_samples, loss.hardest_share, loss.small_instance_weight) == (None, 0.2, 3)
    assert config.model.panoptic_head.transformer_decoder.num_centers == 256


@pytest.mark.parametrize(
    ('size', 'rate'), [('t', 0.2), ('s', 0.3), ('b', 0.4), ('l', 0.6)], ids='tsbl'
)
def test_convnext_on_cityscapes(size, rate, monkeypatch):
    """deeplab2: drop_path_keep_prob, and the stem at stride 4 in the fifth stage."""
    monkeypatch.setattr(torch, 'linspace', partial(torch.linspace, device='cpu'))
    name = f'kmax_deeplab/kmax-deeplab_convnext-{size}_8xb4-60k_cityscapes-panoptic-1025x2049.py'
    config = read(CONFIGS / name)
    assert config.model.backbone.drop_path_rate == rate
    model = build(config)
    assert tuple(model.backbone.strides) == (4, 4, 8, 16, 32)
    assert len(model.panoptic_head.pixel_decoder.fuses) == 4
    assert model.panoptic_head.pixel_decoder.fuses[3].skip is not None


def test_resnet_on_cityscapes_is_deeplab2s():
    name = 'kmax_deeplab/kmax-deeplab_r50-tf_8xb4-60k_cityscapes-panoptic-1025x2049.py'
    config = read(CONFIGS / name)
    backbone = build(config).backbone
    assert backbone.pre_activation_outputs and not backbone.with_max_pool
    assert backbone.with_stem_output is True
    assert tuple(config.model.panoptic_head.pixel_decoder.dilations) == (1, 1, 2, 2, 2)


@each([path for path in PYTORCH if 'convnext' in path.stem])
def test_convnext_on_coco_starts_from_the_weights_of_384_pixels(path):
    size = dict(t='tiny', s='small', b='base', l='large')[path.stem.split('convnext-')[1][0]]
    checkpoint = read(path).model.backbone.init_cfg.checkpoint
    assert checkpoint.endswith(f'/convnext_{size}_22k_1k_384.pth')


def learning_rates(config: Config, number: int) -> list[float]:
    """The first learning rates of a training whose optimizer starts at 1."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedulers = [
        PARAM_SCHEDULERS.build(
            {'end': config.train_cfg.max_iters, **scheduler, 'optimizer': optimizer}
        )
        for scheduler in config.param_scheduler
    ]
    rates = []
    for _ in range(number):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


def test_warm_up_is_not_multiplied_with_the_decay():
    """deeplab2 and kmax-deeplab: the rate falls from 1 to the decay's value behind the warm-up."""
    done = set()
    for config in map(read, RECIPES):
        total, schedulers = config.train_cfg.max_iters, config.param_scheduler
        if (total, str(schedulers)) in done:
            continue
        done.add((total, str(schedulers)))
        warm_up = {300_000: 10_000, 600_000: 20_000}.get(total, 5000)
        *_, last_of_warm_up, next_one = learning_rates(config, warm_up + 1)
        first = schedulers[0].get('start_factor', 0)
        assert last_of_warm_up == pytest.approx(first + (1 - first) * (1 - 1 / warm_up))
        assert next_one == pytest.approx((1 - warm_up / total) ** 0.9)
    assert len(done) >= 5


@each(RECIPES)
def test_earlier_stages_at_the_final_size(path):
    """deeplab2 and kmax-deeplab resize earlier predictions; CMT-DeepLab here does not."""
    config = read(path)
    criterion = MODELS.build(dict(config.model.criterion, num_classes=5, num_things_classes=3))
    assert criterion.resize_to_final == (path not in CMT)


@each([MAX[0], KMAX[0]])
def test_optimizer_has_kerass_epsilon(path):
    config = read(path)
    model = nn.ModuleDict(dict(backbone=nn.Conv2d(3, 4, 1), pixel_decoder=nn.Conv2d(4, 4, 1)))
    wrapper = dict(config.optim_wrapper, paramwise_cfg=None)
    assert build_optim_wrapper(model, wrapper).optimizer.defaults['eps'] == 1e-7
