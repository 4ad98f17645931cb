"""Sentences for what mmengine cannot build from the config: data sets, hooks, optimizers, loops."""

import inspect
import re
import traceback
from collections.abc import Mapping
from types import FrameType

from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from cmt_deeplab.construction import (
    config_entries,
    explain,
    is_explicit,
    key_not_taken,
    quote,
    type_missing,
    type_unknown,
)

# the top-level keys that something reads; all others are variables of the config files
READ = {
    'runner_type',
    'model_wrapper_cfg',
    'compile',
    'sync_bn',
    'find_unused_parameters',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'custom_imports',
    *inspect.signature(Runner.__init__).parameters,
}
# the key of the config that a method of the runner is called for
IN_RUNNER = {
    'build_logger': 'log_level',
    'build_model': 'model',
    'build_visualizer': 'visualizer',
    'build_optim_wrapper': 'optim_wrapper',
    'build_param_scheduler': 'param_scheduler',
    'build_train_loop': 'train_cfg',
    'build_val_loop': 'val_cfg',
    'build_test_loop': 'test_cfg',
    'build_log_processor': 'log_processor',
}
STARTING = ('__init__', 'setup_env', 'set_randomness')  # methods of the runner
REGISTRY, RUNNER = 'mmengine.registry.build_functions', 'mmengine.runner.runner'


def failed_building(error: Exception) -> str | None:
    """The sentence where mmengine could not build what the config describes, otherwise None.

    The call of mmengine that failed is found in the trace, with the dict that it was given.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    building = [frame for frame in frames if _builds(frame)]
    if not building:
        return _said_by_runner(error, frames)
    frame, whole = building[-1], _whole_config(frames)
    function, variables = frame.f_code.co_name, frame.f_locals
    if function == 'build_runner_from_cfg':
        if variables.get('runner_cls', Runner) is None:
            return type_unknown('runner_type', variables['obj_type'], variables['registry'])
        return _said_by_runner(error, frames)
    if _module(frame) == RUNNER:
        place = IN_RUNNER.get(function.lstrip('_'), '')
        place, own = (place, whole.get(place)) if place else place_of(_argument(frame), whole)
        own = own if isinstance(own, Mapping) else {}
        return explain(error, place, DataLoader if function == 'build_dataloader' else None, own)
    cfg, part_type = variables['cfg'], variables.get('obj_cls', variables.get('scheduler_cls'))
    if not isinstance(cfg, Mapping):
        return f'{place_of_value(cfg, whole)} is {cfg!r}, but must be a dict with a type.'
    named = cfg.get('type', (variables.get('default_args') or {}).get('type'))
    if part_type is None and isinstance(named, str):
        return type_unknown(place_of_value(named, whole), named, variables['registry'])
    place, own = place_of(cfg, whole)
    return type_missing(place) if named is None else explain(error, place, part_type, own)


def _said_by_runner(error: Exception, frames: list[FrameType]) -> str | None:
    """What mmengine's runner itself says to the config as a whole."""
    starting = [frame.f_code.co_name in STARTING for frame in frames if _module(frame) == RUNNER]
    if not is_explicit(error) or not (_module(frames[-1]) == RUNNER or any(starting)):
        return None
    if frames[-1].f_code.co_name != 'call_hook':
        return f'The config cannot be used: {quote(error)}.'
    # It says what a hook said, which is a mistake in the config where the hook has handed on a key
    # that nothing takes, and otherwise a fault.
    unexpected = re.search(r"got an unexpected keyword argument '(\w+)'", str(error))
    hooks = dict(entry for entry in _entries(_whole_config(frames)) if 'hooks' in entry[0])
    for path in hooks:
        place, _, key = path.rpartition('.')
        if unexpected and key == unexpected[1]:
            return key_not_taken(place, hooks[place].get('type'), key)
    return None


def _module(frame: FrameType) -> str:
    return frame.f_globals.get('__name__', '')


def _builds(frame: FrameType) -> bool:
    """Whether a frame is a call of mmengine that makes something of a dict of the config."""
    function = frame.f_code.co_name.lstrip('_')
    return _module(frame) == REGISTRY or (
        _module(frame) == RUNNER and function.startswith('build_')
    )


def _argument(frame: FrameType) -> object:
    """The first argument of a method."""
    return frame.f_locals[frame.f_code.co_varnames['self' in frame.f_locals]]


def _whole_config(frames: list[FrameType]) -> Config | dict:
    """The config of the run, from the variables of the functions that an error has passed."""
    for frame in frames:
        for value in list(frame.f_locals.values()):
            if isinstance(value, Runner):
                value = getattr(value, 'cfg', None)
            if isinstance(value, Config):
                return value
    return {}


def _entries(whole: Mapping) -> list[tuple[str, object]]:
    return [entry for entry in config_entries(whole) if entry[0].partition('.')[0] in READ]


def place_of(cfg: object, whole: Mapping) -> tuple[str, Mapping]:
    """The dotted key of a dict in the whole config, and what the user has written there.

    The dict may have lost or gained keys on its way to the call that builds it. The key of one
    that is not found is empty.
    """
    entries = [entry for entry in _entries(whole) if isinstance(entry[1], Mapping)]
    same = [entry for entry in entries if entry[1] == cfg]
    if same or not isinstance(cfg, Mapping):
        return same[0] if same else ('', {})
    alike = [entry for entry in entries if entry[1].get('type') == cfg.get('type')]
    for place, value in alike:
        if len(alike) == 1 or all(cfg.get(key, value[key]) == value[key] for key in value):
            return place, value
    # the type stands under another key, as that of optim_wrapper.constructor does
    named = [path for path, value in _entries(whole) if value == cfg.get('type')]
    parent = named[0].rpartition('.')[0] if named else ''
    return parent, dict(entries).get(parent, cfg)


def place_of_value(value: object, whole: Mapping) -> str:
    """The dotted key of a word in the whole config, such as the name of a type."""
    places = (path for path, entry in _entries(whole) if entry == value)
    return next(places, 'A value of the config')
