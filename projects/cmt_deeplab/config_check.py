"""What is wrong with a config and would come to light late, or never.

``tools/train.py`` and ``tools/test.py`` ask before they build the runner.
mmengine ignores a top-level key that it does not know, keeps some arguments until long after the
start, and takes the word 'no' for true.
"""

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.util import find_spec

import mmdet.registry
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.registry import Registry
from mmengine.runner import Priority, Runner
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from cmt_deeplab.construction import (
    config_entries,
    key_not_taken,
    keywords,
    name_of,
    type_missing,
    wrong_layer,
)
from cmt_deeplab.errors import UserError
from cmt_deeplab.mmengine_building import READ
from cmt_deeplab.value_kinds import KINDS, kind_of, wrong_value

REGISTRIES = [entry for entry in vars(mmdet.registry).values() if isinstance(entry, Registry)]
REGISTRIES += [registry.parent for registry in REGISTRIES if registry.parent]
# keys of mmdet 2 that mmdet 3 ignores
OF_MMDET_2 = {
    'optimizer': 'optim_wrapper.optimizer',
    'lr_config': 'param_scheduler',
    'runner': 'train_cfg',
    'total_epochs': 'train_cfg.max_epochs',
    'checkpoint_config': 'default_hooks.checkpoint',
    'log_config': 'default_hooks.logger',
    'evaluation': 'train_cfg.val_interval',
}


def check_config(cfg: Config) -> None:
    """Check the config of a run before anything is built.

    Raises:
        UserError: a top-level key is misspelt, a value is of a kind that its class does not take,
            or an argument that is used late is not known.
    """
    _check_top_level(cfg)
    _check_values(Runner, '', cfg)
    for key in ('env_cfg', 'randomness', 'default_hooks'):
        value = cfg.get(key, {})
        if not isinstance(value, Mapping):
            raise UserError(f'{key} is {value!r}, but must be a dict; dict() takes the defaults.')
    for registry in REGISTRIES:
        registry.import_from_location()
    read = {key: value for key, value in cfg.items() if key in READ}
    for place, part in config_entries(read):
        part_type = _class_of(part.get('type')) if isinstance(part, Mapping) else None
        if part_type:
            _check_values(part_type, place, part)
            priority = part.get('priority') if '_hooks.' in place else None
            if isinstance(priority, str) and priority.upper() not in Priority.__members__:
                raise UserError(
                    f'{place}.priority is {priority!r}, but must be a number from 0 to 100 or one '
                    f'of {", ".join(Priority.__members__)}.'
                )
        if inspect.isclass(part_type) and issubclass(part_type, CheckpointHook):
            _check_late_keys(place, part, part_type, Runner.save_checkpoint)
        if inspect.isclass(part_type) and issubclass(part_type, EMAHook):
            average = _class_of(part.get('ema_type', 'ExponentialMovingAverage'))
            _check_late_keys(place, part, part_type, *filter(None, [average]))
    wrong = wrong_layer('model', cfg.get('model'))
    if wrong:
        raise UserError(wrong)
    for split in ('train', 'val', 'test'):
        _check_loader(f'{split}_dataloader', cfg.get(f'{split}_dataloader'))
    _check_optim_wrapper(cfg.get('optim_wrapper'))
    _check_late_keys('randomness', cfg.get('randomness', {}), Runner.set_randomness)


def _check_top_level(cfg: Config) -> None:
    """Keys that mmengine would ignore, though the user cannot mean that."""
    for key, value in cfg.items():
        near = get_close_matches(key, READ, 1, 0.85)
        place = OF_MMDET_2.get(key) or (near[0] if near else None)
        if key in READ or place is None or key.startswith(f'{place}_'):
            continue
        used = any(_holds(entry, value) for path, entry in config_entries(cfg) if path != key)
        if not used:  # otherwise it is a variable
            raise UserError(f'The config sets {key}, which nothing reads; set {place}.')
    scope = cfg.get('default_scope')
    if isinstance(scope, str) and not find_spec(scope):
        raise UserError(
            f"default_scope is {scope!r}, which is no installed package: use 'mmdet', in whose "
            'registries the parts of this package are.'
        )


def _holds(entry: object, value: object) -> bool:
    """Whether an entry of the config is ``value``, or a dict into which ``value`` was merged."""
    if isinstance(entry, Mapping) and isinstance(value, Mapping):
        return all(key in entry and entry[key] == value[key] for key in value)
    return entry == value


def _class_of(named: object) -> Callable | None:
    """The class of a type, or None where it is not known or not the only one of its name."""
    if not isinstance(named, str):
        return named if callable(named) else None
    name = named.removeprefix('mmdet.')
    found = {registry.module_dict.get(name) for registry in REGISTRIES} - {None}
    return found.pop() if len(found) == 1 else None


def _check_values(part_type: Callable, place: str, part: Mapping) -> None:
    for key, value in part.items():
        wrong = wrong_value(part_type, key, value)
        if wrong:
            raise UserError(
                f'{f"{place}.{key}" if place else key} is {value!r}, but must be {wrong}.'
            )


def _check_late_keys(place: str, part: Mapping, *functions: Callable) -> None:
    """The arguments that a part takes, or keeps for a function that it calls later."""
    taken = set().union(*(keywords(function)[0] for function in functions))
    for key in part.keys() - taken - {'type', '_scope_', 'priority'}:
        raise UserError(key_not_taken(place, name_of(functions[0]), key))


def _check_loader(place: str, loader: object) -> None:
    """What torch would accept in place of a data set or a sampler, but the training loop not."""
    for key in ('dataset', 'sampler') if isinstance(loader, Mapping) else ():
        value = loader.get(key)
        if kind_of(value) in {*KINDS, 'NoneType'} - {'dict'}:
            raise UserError(f'{place}.{key} is {value!r}, but must be a dict with a type.')


def _check_optim_wrapper(optim_wrapper: object) -> None:
    """The optimizer, its factors, and the clipping of gradients, which begins with the training."""
    if not isinstance(optim_wrapper, Mapping):
        return
    if not optim_wrapper.keys() & {'optimizer', 'constructor'}:
        raise UserError(
            "optim_wrapper has no optimizer: add optimizer=dict(type='AdamW', lr=...) to it, or "
            'inherit a config that has it.'
        )
    optimizer = optim_wrapper.get('optimizer')
    if isinstance(optimizer, Mapping) and 'type' not in optimizer:
        raise UserError(type_missing('optim_wrapper.optimizer'))
    own = name_of(optim_wrapper.get('constructor')) == 'PanopticOptimWrapperConstructor'
    if own and isinstance(optimizer, Mapping) and optimizer.get('lr') is None:
        raise UserError('optim_wrapper.optimizer has no lr, the learning rate: add it.')
    paramwise = optim_wrapper.get('paramwise_cfg')
    custom_keys = paramwise.get('custom_keys') if isinstance(paramwise, Mapping) else None
    for key, factors in custom_keys.items() if isinstance(custom_keys, Mapping) else ():
        if not isinstance(factors, Mapping):
            raise UserError(
                f"optim_wrapper.paramwise_cfg.custom_keys['{key}'] is {factors!r}, but must be a "
                'dict such as dict(lr_mult=0.1).'
            )
    clipping = optim_wrapper.get('clip_grad')
    if isinstance(clipping, Mapping):
        by_value = clipping.get('type') == 'value'
        function = clip_grad_value_ if by_value else clip_grad_norm_
        _check_late_keys('optim_wrapper.clip_grad', clipping, function)
