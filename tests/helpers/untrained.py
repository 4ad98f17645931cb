"""Checkpoints of untrained models, as training writes them, whose merges keep every segment."""

from math import prod
from pathlib import Path

import torch
from cmt_deeplab.checkpoints.recipe import add_recipe
from mmdet.registry import DATASETS
from mmengine.config import Config
from run_tool import ROOT
from torch import nn
from weights_by_rule import build_for_weights, by_rule

TINY = 'cmt_deeplab/cmt-deeplab_tiny_shapes.py'
CERTAIN = dict(pixel_threshold=1e-3, thing_area=0, stuff_area=0)
CERTAIN_MASKS = dict.fromkeys(('thing_threshold', 'stuff_threshold', 'overlap_threshold'), 0.0)


def certain_config(name: str = TINY, **options) -> Config:
    """A config below configs/, with ``options`` (nested keys with two underscores for a dot)."""
    config = Config.fromfile(str(ROOT / 'configs' / name))
    config.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    if 'postprocess' in config.model:
        pixel_wise = config.model.postprocess.type == 'PanopticPixelWiseMerge'
        thresholds = dict(class_threshold=0.0) if pixel_wise else CERTAIN_MASKS
        config.model.postprocess.update(CERTAIN, **thresholds)
    config.model.backbone.init_cfg = None
    return config


def save_untrained(config: Config, path: Path, **meta) -> str:
    """The path of a checkpoint of the config's model with weights that give many segments."""
    with torch.no_grad():
        model = build_for_weights(config.model)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            fan_in, scale = prod(tensor.shape[1:]) if tensor.dim() > 1 else 0, 'weight' in name
            positive = not fan_in and (scale or name.endswith('running_var'))
            tensor.copy_(by_rule(name, tensor.shape, fan_in=fan_in, positive=positive))
    if hasattr(model, 'network'):
        _give_norms_their_statistics(model)
    there = Path(config.test_dataloader.dataset.data_root).is_dir()
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, lazy_init=not there))
    known = {**DATASETS.get(config.test_dataloader.dataset.type).METAINFO, **dataset.metainfo}
    content = dict(state_dict=model.state_dict(), meta=dict(dataset_meta=known))
    add_recipe(content['meta'], config, dataset)
    content['meta'].update(meta)
    torch.save(content, path)
    return str(path)


def _give_norms_their_statistics(model: nn.Module) -> None:
    """Those of noise, so that centers and pixels differ, and masks with borders."""
    for name, tensor in model.state_dict().items():
        if name.endswith('mask_norm.weight'):  # masks with borders
            tensor.fill_(8.0)
    for module in model.modules():  # norms take the statistics of some noise for theirs
        if hasattr(module, 'momentum'):
            module.momentum = 1.0
    generator = torch.Generator().manual_seed(0)
    size = tuple(model.data_preprocessor.size)
    noise = torch.rand(4, 3, 6, 6, generator=generator) * 2 - 1  # as images that are normalized
    noise = torch.nn.functional.interpolate(noise, size=size, mode='bicubic')
    model.train()(noise, mode='tensor')
