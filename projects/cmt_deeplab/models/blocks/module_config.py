"""What the configs of blocks give: the classes of norms and activations, and sizes."""

import math
from collections.abc import Callable, Mapping

import torch
from mmdet.registry import MODELS
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from cmt_deeplab.errors import UserError


def registered_class(key: str, config: Mapping, fitting: str) -> Callable:
    """The class that a norm_cfg or act_cfg names, by its registered name or itself.

    Args:
        key: 'norm_cfg' or 'act_cfg', for messages.
        fitting: what fits.
    """
    kind = config.get('type') if isinstance(config, Mapping) else None
    if isinstance(kind, str):
        # The root registry resolves scopes: 'mmdet.BN' is what mmdet calls BN, which is mmcv's.
        found = MODELS.get(kind) or ROOT_MODELS.get(kind)
        if found is None:
            raise UserError(f'{key}.type is {kind!r}, which is not registered: use {fitting}.')
        return found
    if not callable(kind):
        raise UserError(
            f"{key} is {config!r}, but must be a dict such as dict(type='...'): use {fitting}."
        )
    return kind


def tried_out(
    key: str, config: Mapping, build: Callable[[], nn.Module], channels: int, fitting: str
) -> nn.Module:
    """The module that ``build`` makes, if it turns maps (B, C, H, W) into other ones of this shape.

    Args:
        key, fitting: as in :func:`registered_class`.
        config: what the module is built from.
        channels: of the maps with which it is tried out.
    """
    kind = f'{key}.type {getattr(config["type"], "__name__", config["type"])}'
    shape = (2, channels, 2, 4 if channels == 3 else 3)
    maps = torch.linspace(-1, 1, math.prod(shape), device='cpu').view(shape)
    try:
        with torch.device('cpu'), torch.no_grad():  # a model may be built on the device 'meta'
            module = build()
            output = module.eval()(maps.clone())
    except Exception as error:  # whatever the constructor or the code of a class says
        reason = ' '.join(str(error).split()).rstrip('.')
        raise UserError(f'{kind} does not work ({reason}): use {fitting}.') from error
    if getattr(output, 'shape', None) != maps.shape:
        raise UserError(f'{kind} changes the shape of maps (B, C, H, W): use {fitting}.')
    if (output == output.flatten()[0]).all():
        raise UserError(f'{kind} makes a constant of maps of {channels} channels: use {fitting}.')
    return module.train().to(torch.get_default_device())


def require_sizes(place: str, **sizes: object) -> None:
    """Raise a :class:`UserError` for the first of ``sizes`` that is no whole number from 1 on."""
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f'{place}: {name} is {value!r}: give a whole number from 1 on.')


def require_sequences(place: str, **values: object) -> None:
    """Raise a :class:`UserError` for the first of ``values`` that is no list with one per stage.

    Its entries are whole numbers from 1 on, or words.
    """
    for name, value in values.items():
        if not isinstance(value, list | tuple):
            raise UserError(f'{place}: {name} is {value!r}: give a list with one entry per stage.')
        for entry in value:
            if not isinstance(entry, str):
                require_sizes(place, **{name: entry})
