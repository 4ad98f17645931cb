"""Configs and their networks, for tools that neither train nor test."""

from collections.abc import Mapping, Sequence

import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.utils import import_modules_from_strings
from torch import nn

from cmt_deeplab.config_loading import read_config
from cmt_deeplab.engine.config_overrides import merge_overrides
from cmt_deeplab.errors import UserError


def load_config(path: str, cfg_options: Mapping | Sequence[str] = ()) -> Config:
    """The config with its overrides, its modules imported and its scope set.

    ``path`` is that of a file, or a name such as ``mmdet::solo/solo_r50_fpn_1x_coco.py``.

    Raises:
        MissingFileError: there is no such file.
        UserError: the config cannot be loaded, or an override does not suit it.
    """
    config = read_config(path)
    merge_overrides(config, cfg_options)
    import_modules_from_strings(**config.get('custom_imports', dict(imports=[])))
    init_default_scope(config.get('default_scope', 'mmdet'))
    return config


def build_without_values(model_config: dict) -> nn.Module:
    """The model on torch's device 'meta': shapes and types that take no memory and no time.

    A model that reads values while it is built, as timm's and mmdet's Swin do, is built for real.
    """
    try:
        with torch.device('meta'):
            return MODELS.build(model_config)
    except (RuntimeError, UserError):
        return MODELS.build(model_config)
