"""Sentences for what mmengine, mmdet and torch say to a config: what they cannot build, or refuse.

``errors.py`` asks for one when an error ends the run.
"""

import inspect
import re
from collections.abc import Mapping
from types import FrameType

from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.runner._flexible_runner import FlexibleRunner
from torch.utils.data import DataLoader

from cmt_deeplab.construction import (
    config_entries,
    culprit,
    explain,
    is_explicit,
    is_installed,
    key_missing,
    name_of,
    quote,
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
    *inspect.signature(FlexibleRunner.__init__).parameters,
}
# functions of the runner other than build_... to which a top-level key goes
OF_FUNCTIONS = {'set_randomness': 'randomness', 'setup_env': 'env_cfg', 'build_logger': 'log_level'}
REGISTRY, RUNNER = 'mmengine.registry.build_functions', 'mmengine.runner.runner'
# what these raise in so many words speaks to a value of the config
LIBRARIES = (
    *('mmengine', 'mmdet', 'mmcv'),
    *('torch.optim', 'torch.utils.data', 'torch.distributed', 'torch.cuda', 'torch.profiler'),
)
# except in what networks do with tensors
COMPUTING = (
    'mmengine.model.base_model',
    'mmengine.structures',
    'mmdet.models',
    'mmdet.structures',
    'mmcv.ops',
    *(f'cmt_deeplab.{part}' for part in ('models', 'criterion', 'postprocess', 'visualization')),
)
# who may have called them; what other code passes on is a fault of that code
CALLERS = '__main__', 'cmt_deeplab'


def said_of_the_config(error: Exception) -> str | None:
    """The sentence about a value of the config that cannot be used, or None for other errors.

    The innermost call of mmengine that builds something is found in the trace, with its arguments.
    Without one, what a library raises on purpose is repeated.
    """
    frames = frames_of(error)
    whole = _whole_config(frames)
    for frame in reversed(frames):
        module, function, variables = _module(frame), frame.f_code.co_name, frame.f_locals
        if module == REGISTRY and function == 'build_runner_from_cfg':
            if variables.get('runner_cls', Runner) is None:
                return type_unknown('runner_type', variables['obj_type'], variables['registry'])
        elif module == REGISTRY:
            sentence = _of_registry(error, variables, whole)
            return sentence or _said_on_purpose(error, frames, whole)
        elif module == RUNNER and function == 'build_dataloader':
            place, own = _place_of(variables['dataloader'], whole)
            return explain(error, place, DataLoader, own)
        elif module == RUNNER and (function in OF_FUNCTIONS or function.startswith('build_')):
            key = function.removeprefix('build_').replace('_loop', '_cfg')
            key = OF_FUNCTIONS.get(function, key)
            return explain(error, key, None, whole.get(key, {}))
    return _said_on_purpose(error, frames, whole)


def _of_registry(error: Exception, variables: dict, whole: Mapping) -> str | None:
    """The sentence about a dict from which a registry could not build."""
    cfg, part_type = variables['cfg'], variables.get('obj_cls', variables.get('scheduler_cls'))
    if not isinstance(cfg, Mapping):
        place = _place_of_value(cfg, whole)
        return f'{place} is {cfg!r}, but must be a dict with a type.' if place else None
    named = cfg.get('type', (variables.get('default_args') or {}).get('type'))
    if part_type is None and isinstance(named, str):
        place = _place_of_value(named, whole)
        return type_unknown(place, named, variables['registry']) if place else None
    place, own = _place_of(cfg, whole)
    if whole and not place:  # the code has made this dict
        return None
    return key_missing(place) if named is None else explain(error, place, part_type, own)


def _said_on_purpose(error: Exception, frames: list[FrameType], whole: Mapping) -> str | None:
    """What a library says to the config; the innermost part of the config on the way is named."""
    libraries, caller = [], frames[0]  # since the last frame of this package or of the user
    for frame in frames:
        if not is_installed(frame) or _within(frame, 'cmt_deeplab'):
            libraries, caller = [], frame
        else:
            libraries.append(frame)
    on_purpose = is_explicit(error) or _within(frames[-1], 'mmengine.fileio')  # of backend_args
    to_the_config = libraries and _within(frames[-1], LIBRARIES) and on_purpose
    repeated = frames[-1].f_code.co_name == 'call_hook'  # from the error of a hook
    computing = any(_within(frame, COMPUTING) for frame in (caller, frames[-1]))
    if not to_the_config or repeated or computing or not _within(caller, CALLERS):
        return None
    if _within(frames[-1], 'mmengine.config') and isinstance(error, AttributeError | KeyError):
        return key_missing('The config', re.findall(r'\w+', str(error))[-1])
    for frame in reversed(libraries):
        name = type(frame.f_locals.get('self')).__name__
        for place, part in entries_read(whole):
            if isinstance(part, Mapping) and name_of(part.get('type')).split('.')[-1] == name:
                wrong = culprit(error, place, part) or 'it'
                return f'{place} ({name}) cannot be used: {quote(error)}; correct {wrong}.'
    return f'The config cannot be used: {quote(error)}.'


def _within(frame: FrameType, packages: str | tuple[str, ...]) -> bool:
    """Whether a frame runs code of one of the packages or modules."""
    packages = (packages,) if isinstance(packages, str) else packages
    return f'{_module(frame)}.'.startswith(tuple(f'{package}.' for package in packages))


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


def entries_read(whole: Mapping) -> list[tuple[str, object]]:
    """The entries of the config without its variables."""
    return [entry for entry in config_entries(whole) if entry[0].partition('.')[0] in READ]


def _place_of(cfg: Mapping, whole: Mapping) -> tuple[str, Mapping]:
    """The dotted key of a dict in the whole config, and what the user has written there.

    The dict may have lost or gained keys on its way to the call that builds it: of those with its
    type, the most similar one is taken. The key of one that is not found is empty.
    """
    similar = {
        place: (entry == cfg, sum(cfg.get(key) == value for key, value in entry.items()))
        for place, entry in entries_read(whole)
        if isinstance(entry, Mapping) and entry.get('type') == cfg.get('type')
    }
    place = max(similar, key=similar.get, default='')
    return place, dict(entries_read(whole)).get(place, cfg)


def _place_of_value(value: object, whole: Mapping) -> str:
    """The dotted key of a value in the whole config, such as the name of a type.

    It is empty where the config is known and does not have the value: then the code has made it.
    """
    places = (path for path, entry in entries_read(whole) if entry == value)
    return next(places, '' if whole else 'A value of the config')
