"""What the configs of blocks give: the classes of norms and activations, and sizes."""

import math
from collections.abc import Callable, Mapping

import torch
from mmdet.registry import MODELS
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from cmt_deeplab.errors import UserError

# the norms and activations that have been tried out, by config and number of channels
_TRIED: set[tuple[str, int]] = set()


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
    trial = (repr(sorted(config.items(), key=str)), channels)
    try:
        with torch.device('cpu'):  # a model may be built on the device 'meta'
            module = build()
            fault = None if trial in _TRIED else _fault(module, channels)
    except Exception as error:  # whatever the constructor or the code of a class says
        reason = ' '.join(str(error).split()).rstrip('.')
        raise UserError(f'{kind} does not work ({reason}): use {fitting}.') from error
    if fault:
        raise UserError(f'{kind} {fault}: use {fitting}.')
    _TRIED.add(trial)
    return module.to(torch.get_default_device())


@torch.no_grad()
def _fault(module: nn.Module, channels: int) -> str | None:
    """What is wrong with a module that should turn maps of these channels into others."""
    shape = (2, channels, 2, 4 if channels == 3 else 3)  # the width is not that of the channels
    maps = torch.linspace(-1, 1, math.prod(shape)).view(shape)
    output = module.eval()(maps.clone())
    module.train()
    if getattr(output, 'shape', None) != maps.shape:
        return 'changes the shape of maps (B, C, H, W)'
    if (output == output.flatten()[0]).all():
        return f'makes a constant of maps of {channels} channels'
    return None


def require_sizes(place: str, **sizes: object) -> None:
    """Raise a :class:`UserError` for the first of ``sizes`` that is no whole number from 1 on."""
    for name, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise UserError(f'{place}: {name} is {value!r}: give a whole number from 1 on.')


def require_sequences(place: str, **values: object) -> None:
    """Raise a :class:`UserError` for the first of ``values`` that is no list.

    Its entries are whole numbers from 1 on, or words.
    """
    for name, value in values.items():
        if not isinstance(value, list | tuple):
            raise UserError(f'{place}: {name} is {value!r}: give a list.')
        for entry in value:
            if not isinstance(entry, str):
                require_sizes(place, **{name: entry})
