"""Sentences for what mmengine cannot build from the config: data sets, hooks, optimizers, loops."""

import inspect
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
    refusal,
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
REGISTRY, RUNNER = 'mmengine.registry.build_functions', 'mmengine.runner.runner'


def failed_building(error: Exception) -> str | None:
    """The sentence where mmengine could not build what the config describes, otherwise None.

    The call of mmengine that failed is found in the trace, with the dict that it was given.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    building = [frame for frame in frames if _builds(frame)]
    if not building:
        explicit = _module(frames[-1]) == RUNNER and is_explicit(error)
        return refusal(error, 'The run', '', {}) if explicit else None
    frame, whole = building[-1], _whole_config(frames)
    variables = frame.f_locals
    if frame.f_code.co_name == 'build_runner_from_cfg':
        if 'runner_cls' in variables and variables['runner_cls'] is None:
            return type_unknown('runner_type', variables['obj_type'], variables['registry'])
        return refusal(error, 'The run', '', whole) if is_explicit(error) else None
    if _module(frame) == RUNNER:
        cfg, part_type = _first_argument(frame), None
        if frame.f_code.co_name == 'build_dataloader':
            part_type = DataLoader
    else:
        cfg = variables['cfg']
        part_type = variables.get('obj_cls', variables.get('scheduler_cls'))
        if not isinstance(cfg, Mapping):
            return (
                f'{_place_of_value(cfg, whole)} is {cfg!r}, but a dict with a type belongs there.'
            )
        named = cfg.get('type', (variables.get('default_args') or {}).get('type'))
        if part_type is None and isinstance(named, str):
            place = _place_of_value(named, whole)
            return type_unknown(place, named, variables['registry'])
        if named is None:
            return type_missing(place_of(cfg, whole)[0])
    place, own = place_of(cfg, whole)
    return explain(error, place, part_type, own)


def _module(frame: FrameType) -> str:
    return frame.f_globals.get('__name__', '')


def _builds(frame: FrameType) -> bool:
    """Whether a frame is a call of mmengine that makes something of a dict of the config."""
    function = frame.f_code.co_name.lstrip('_')
    return _module(frame) == REGISTRY or (
        _module(frame) == RUNNER and function.startswith('build_')
    )


def _first_argument(frame: FrameType) -> object:
    names = [name for name in frame.f_code.co_varnames if name != 'self']
    return frame.f_locals[names[0]]


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


def place_of(cfg: object, whole: Mapping) -> tuple[str, object]:
    """The dotted key of a dict in the whole config, and what the user has written there.

    The dict may have lost or gained keys on its way to the call that builds it. One that is not
    found is called 'The config'.
    """
    entries = [entry for entry in _entries(whole) if isinstance(entry[1], Mapping)]
    same = [entry for entry in entries if entry[1] == cfg]
    if not same and isinstance(cfg, Mapping):
        alike = [entry for entry in entries if entry[1].get('type') == cfg.get('type')]
        same = [
            (path, value)
            for path, value in alike
            if all(cfg.get(key, value[key]) == value[key] for key in value)
        ] or alike * (len(alike) == 1)
    return same[0] if same else ('The config', cfg)


def _place_of_value(value: object, whole: Mapping) -> str:
    """The dotted key of a word in the whole config, such as the name of a type."""
    return next(
        (path for path, entry in _entries(whole) if entry == value), 'A value of the config'
    )
