"""What a checkpoint tells about the settings of its run, and where those of another run differ."""

from collections.abc import Mapping
from typing import Any

from mmengine.optim import OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop

from cmt_deeplab.construction import config_entries, name_of
from cmt_deeplab.engine.class_check import unwrapped

COMPARED = (
    'model',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'randomness',
    'default_hooks',
    'custom_hooks',
)
# parts of keys whose values do not change what a resumed run computes
WITHOUT_EFFECT = {
    *('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory'),
    *('init_cfg', 'logger', 'timer', 'visualization', 'not_finite'),
}


def settings_of(runner: Any) -> dict:
    """What a checkpoint tells about its run, in plain values.

    ``config`` holds values of the config by their dotted keys, ``parameters`` the names of the
    optimizer's parameters in its order.
    """
    entries = config_entries({key: runner.cfg[key] for key in COMPARED if runner.cfg.get(key)})
    config = {
        place: value if isinstance(value, str | int | float | None) else name_of(value)
        for place, value in entries
        if not isinstance(value, Mapping | list | tuple)
        and WITHOUT_EFFECT.isdisjoint(place.split('.'))
    }
    config['the number of processes'] = runner.world_size
    dataset = runner.train_dataloader.dataset
    config['the number of training images'] = len(dataset) if hasattr(dataset, '__len__') else None
    settings = dict(config=config, epochs=isinstance(runner.train_loop, EpochBasedTrainLoop))
    if not isinstance(runner.optim_wrapper, OptimWrapperDict):  # of several optimizers
        names = {id(tensor): name for name, tensor in unwrapped(runner.model).named_parameters()}
        groups = runner.optim_wrapper.optimizer.param_groups
        tensors = [tensor for group in groups for tensor in group['params']]
        settings['parameters'] = [names.get(id(tensor), f'{i}') for i, tensor in enumerate(tensors)]
        settings['optimizer'] = type(runner.optim_wrapper.optimizer).__name__
    return settings


def without_functions(state: dict) -> dict:
    """The entries of a dict that are no functions."""
    return {key: value for key, value in state.items() if not callable(value)}


def differences(stored: dict, present: dict) -> dict[str, tuple]:
    """The stored and the present value of each setting where they differ.

    An entry of a list, such as a schedule, that has another type is told without its arguments.
    """
    different = {
        key: (stored.get(key, 'not set'), present.get(key, 'not set'))
        for key in {**present, **stored}
        if stored.get(key, 'not set') != present.get(key, 'not set')
    }
    if present.get('randomness.seed') is None:  # the user leaves the seed open
        different.pop('randomness.seed', None)
    types = [key for key in different if key.endswith('.type') and key.split('.')[-2].isdigit()]
    replaced = tuple(key.removesuffix('type') for key in types)
    return {k: v for k, v in different.items() if k in types or not k.startswith(replaced)}
