"""Whether the entries of a checkpoint have the forms that training writes."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from math import inf, isnan
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.renamed import rename_weights


def _figure(value: Any) -> bool:
    """The form of a number, or of a tensor with one; the best so far begins with infinity."""
    value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return isinstance(value, Real) and not isinstance(value, bool) and not isnan(value)


def _whole(end: float = inf) -> Callable[[Any], bool]:
    """The form of a whole number from 0 to below ``end``."""
    return lambda value: type(value) is int and 0 <= value < end


def _settings(value: Any) -> bool:
    entries = value.items() if isinstance(value, Mapping) else [(None, None)]
    return all(isinstance(k, str) and isinstance(v, str | int | float | None) for k, v in entries)


def _pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_figure, value))


def _divisor(value: Any) -> bool:
    return _figure(value) and 0 < value < inf


COUNT, SEED = _whole(), _whole(2**32)

# A dict has the forms of entries by name, where one with a * may be missing and stands for several;
# a list has that of each entry. The others are types and functions.
FORM = {
    'meta': {'epoch': COUNT, 'iter': COUNT, 'seed*': SEED},
    'message_hub': {
        'log_scalars': Mapping,
        'runtime_info': {
            **{'best_score*': _figure, 'best_ckpt*': str, 'skipped_iterations*': COUNT},
            'unlearned_classes*': [str],
        },
        'resumed_keys': {'*': bool},
    },
    'state_dict': Mapping,
    'settings*': {'config*': _settings, 'epochs*': bool, 'parameters*': [str], 'optimizer*': str},
    'ema_state_dict*': {'*': Tensor},
    'train_loop*': {
        **dict.fromkeys(('processes*', 'sampler_seed*', 'validated*'), COUNT),
        **{'version*': _whole(3), 'digest*': SEED, 'last_draw*': _pair},
        'gradients*': {'accumulated': COUNT, 'divisor': _divisor, 'tensors': {'*': [Tensor]}},
        'early_stopping*': {'*': _pair},
    },
}
# several optimizers have such entries for each
FORM_OF_ONE_OPTIMIZER = FORM | {
    'optimizer*': {'state': {'*': Mapping}, 'param_groups': [{'params': [COUNT], 'lr': _figure}]},
    'param_schedulers*': [
        {
            **dict.fromkeys(('_global_step*', 'last_step*', 'num_bad_epochs*'), _figure),
            **dict.fromkeys(('cooldown_counter*', 'best*'), _figure),
            **dict.fromkeys(('base_values*', '_last_value*'), [_figure]),
        }
    ],
}


def misfit(checkpoint: dict, *, one_optimizer: bool) -> str | None:
    """The dotted name of the first entry of a checkpoint that has another form, or None.

    The average of an ``EMAHook`` has the names of the weights; both get the present ones.
    """
    place = _misfit(checkpoint, FORM_OF_ONE_OPTIMIZER if one_optimizer else FORM)
    averaged = checkpoint.get('ema_state_dict')
    if place or averaged is None:
        return place
    for weights in (averaged, checkpoint['state_dict']):
        rename_weights(weights)
    shapes = {f'module.{key}': _shape(value) for key, value in checkpoint['state_dict'].items()}
    shapes['steps'] = ()
    names = averaged.keys() | shapes.keys()
    wrong = (key for key in names if _shape(averaged.get(key)) != shapes.get(key))
    return next((f'ema_state_dict.{key}' for key in wrong), None)


def _misfit(value: Any, form: Any, place: str = '') -> str | None:
    if value is None and '.' in place:  # what a run does not have
        return None
    if not isinstance(form, dict | list):
        fits = isinstance(value, form) if isinstance(form, type) else form(value)
        return None if fits else place
    if not isinstance(value, Mapping if isinstance(form, dict) else list | tuple):
        return place
    if isinstance(form, list):
        value, form = dict(enumerate(value)), {'*': form[0]}
    missing = (key for key in form if not key.endswith('*') and value.get(key) is None)
    found = (
        _misfit(entry, inner, f'{place}.{key}'.lstrip('.'))
        for key, entry in value.items()
        for inner in [each for name, each in form.items() if fnmatchcase(str(key), name)][:1]
    )
    return next((f'{place}.{key}'.lstrip('.') for key in missing), None) or next(
        filter(None, found), None
    )


def misfit_moments(checkpoint: dict, names: list[str], runner: Any) -> str | None:
    """What is wrong in what the optimizer of a checkpoint kept of the parameters, or None.

    ``names`` are those of its parameters, in the order of the optimizer.
    """
    states, wrapper = checkpoint['optimizer']['state'], runner.optim_wrapper
    parameters = dict(unwrapped(runner.model).named_parameters())
    updated = checkpoint['meta']['iter'] >= wrapper._accumulative_counts
    if updated and not any(states.values()) and kept_by(wrapper.optimizer, parameters[names[0]]):
        return 'its optimizer kept nothing of the parameters'
    for number, name in enumerate(names):
        state, parameter = states.get(number), parameters.get(name)
        if not state or parameter is None:  # it had no gradient so far
            continue
        for key, like in kept_by(wrapper.optimizer, parameter).items():
            value, shape = state.get(key), _shape(like)
            fits = shape is None or _shape(value) == shape
            if fits and shape is not None:
                value = torch.as_tensor(value)
                fits = value.isfinite().all() and (shape or value >= 0)
            if not fits:
                return f'{key!r} of {name!r} in its optimizer is missing, infinite or misshapen'
    return None


def _shape(value: Any) -> tuple | None:
    """That of a tensor or number, or None."""
    return tuple(torch.as_tensor(value).shape) if isinstance(value, Tensor | Real) else None


def kept_by(optimizer: torch.optim.Optimizer, parameter: Tensor) -> dict:
    """What an optimizer keeps of a parameter, seen from a copy that steps over one of zeros.

    It is empty where an optimizer cannot be copied.
    """
    like = torch.zeros_like(parameter, requires_grad=True)
    like.grad = torch.zeros_like(parameter)
    copy, groups = object.__new__(type(optimizer)), [dict(optimizer.param_groups[0], params=[like])]
    vars(copy).update(vars(optimizer), state=defaultdict(dict), param_groups=groups)
    try:
        type(optimizer).step(copy)
    except Exception:
        return {}
    return copy.state[like]
