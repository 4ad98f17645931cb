"""Sentences for what mmengine cannot build from the config: data sets, hooks, optimizers, loops.

``errors.py`` asks for one when an error ends the command line.
"""

import inspect
from collections.abc import Mapping
from types import FrameType

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from cmt_deeplab.construction import (
    config_entries,
    explain,
    is_explicit,
    quote,
    type_missing,
    type_unknown,
)
from cmt_deeplab.errors import frames_of

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
STARTING = {'__init__', 'setup_env', 'set_randomness'}  # methods of the runner
LIBRARIES = 'mmengine.', 'mmdet.'
REGISTRY, RUNNER = 'mmengine.registry.build_functions', 'mmengine.runner.runner'


def failed_building(error: Exception) -> str | None:
    """The sentence where mmengine could not build what the config describes, otherwise None.

    The innermost call of mmengine that builds something is found in the trace, with its arguments.
    """
    frames = frames_of(error)
    whole = _whole_config(frames)
    for frame in reversed(frames):
        module, function, variables = _module(frame), frame.f_code.co_name, frame.f_locals
        if module == REGISTRY and function == 'build_runner_from_cfg':
            if variables.get('runner_cls', Runner) is None:
                return type_unknown('runner_type', variables['obj_type'], variables['registry'])
        elif module == REGISTRY:
            return _of_registry(error, variables, whole)
        elif module == RUNNER and function == 'build_dataloader':
            place, own = _place_of(variables['dataloader'], whole)
            return explain(error, place, DataLoader, own)
        elif module == RUNNER and function.startswith('build_'):
            key = function.removeprefix('build_').replace('_loop', '_cfg')
            return explain(error, 'log_level' if key == 'logger' else key, None, {})
    return _said_by_runner(error, frames) or _said_by_hook(error, frames[-1])


def _of_registry(error: Exception, variables: dict, whole: Mapping) -> str | None:
    """The sentence about a dict from which a registry could not build."""
    cfg, part_type = variables['cfg'], variables.get('obj_cls', variables.get('scheduler_cls'))
    if not isinstance(cfg, Mapping):
        return f'{_place_of_value(cfg, whole)} is {cfg!r}, but must be a dict with a type.'
    named = cfg.get('type', (variables.get('default_args') or {}).get('type'))
    if part_type is None and isinstance(named, str):
        return type_unknown(_place_of_value(named, whole), named, variables['registry'])
    place, own = _place_of(cfg, whole)
    return type_missing(place) if named is None else explain(error, place, part_type, own)


def _said_by_runner(error: Exception, frames: list[FrameType]) -> str | None:
    """What mmengine's runner itself says to the config as a whole."""
    functions = {frame.f_code.co_name for frame in frames if _module(frame) == RUNNER}
    of_a_hook = frames[-1].f_code.co_name == 'call_hook'  # which repeats what a hook said
    said = _module(frames[-1]) == RUNNER or functions & STARTING
    if said and not of_a_hook and is_explicit(error):
        return f'The config cannot be used: {quote(error)}.'
    return None


def _said_by_hook(error: Exception, frame: FrameType) -> str | None:
    """What a hook of mmengine or mmdet says to the model or the run."""
    hook = frame.f_locals.get('self')
    if isinstance(hook, Hook) and _module(frame).startswith(LIBRARIES) and is_explicit(error):
        name = type(hook).__name__
        return f'The hook {name} cannot be used: {quote(error)}; correct or remove it.'
    return None


def _module(frame: FrameType) -> str:
    return frame.f_globals.get('__name__', '')


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


def _place_of(cfg: Mapping, whole: Mapping) -> tuple[str, Mapping]:
    """The dotted key of a dict in the whole config, and what the user has written there.

    The dict may have lost or gained keys on its way to the call that builds it: of those with its
    type, the most similar one is taken. The key of one that is not found is empty.
    """
    similar = {
        place: sum(cfg.get(key) == value for key, value in entry.items())
        for place, entry in _entries(whole)
        if isinstance(entry, Mapping) and entry.get('type') == cfg.get('type')
    }
    place = max(similar, key=similar.get, default='')
    return place, dict(_entries(whole)).get(place, cfg)


def _place_of_value(value: object, whole: Mapping) -> str:
    """The dotted key of a word in the whole config, such as the name of a type."""
    places = (path for path, entry in _entries(whole) if entry == value)
    return next(places, 'A value of the config')
