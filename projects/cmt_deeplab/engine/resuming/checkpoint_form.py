"""Whether the entries of a checkpoint have the forms that training writes."""

from collections import defaultdict
from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import isfinite, isnan, nan
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.renamed import rename_weights


def _number(value: Any) -> bool:
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _figure(value: Any) -> bool:
    """A number; ReduceOnPlateauLR begins with one that is not finite."""
    return isinstance(value, Real) and not isinstance(value, bool) and not isnan(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _seed(value: Any) -> bool:
    return _count(value) and value < 2**32


def _settings(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and isinstance(entry, str | int | float | None)
        for key, entry in value.items()
    )


def _pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_number, value))


def _version(value: Any) -> bool:
    return _count(value) and value <= 2


# A dict has the forms of entries by name, where one with a * may be missing and stands for several;
# a list has that of each entry. The others are types and functions.
FORM = {
    'meta': {'epoch': _count, 'iter': _count, 'seed*': _seed},
    'message_hub': {
        'log_scalars': Mapping,
        'runtime_info': {'best_score*': _figure, 'best_ckpt*': str},
        'resumed_keys': {'*': bool},
    },
    'state_dict': Mapping,
    'settings*': {'config*': _settings, 'epochs*': bool, 'parameters*': [str], 'optimizer*': str},
    'ema_state_dict*': {'*': Tensor},
    'train_loop*': {
        **dict.fromkeys(('processes*', 'sampler_seed*', 'validated*'), _count),
        **{'version*': _version, 'digest*': _seed, 'last_draw*': _pair},
        'gradients*': {'accumulated': _count, 'divisor': _positive, 'tensors': {'*': [Tensor]}},
    },
}
# several optimizers have such entries for each
FORM_OF_ONE_OPTIMIZER = FORM | {
    'optimizer*': {'state': {'*': Mapping}, 'param_groups': [{'params': [_count], 'lr': _number}]},
    'param_schedulers*': [
        {
            **dict.fromkeys(('_global_step*', 'last_step*', 'num_bad_epochs*'), _number),
            **{'cooldown_counter*': _number, 'best*': _figure},
            **{'base_values*': [_number], '_last_value*': [_number]},
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
    shapes = {f'module.{key}': value for key, value in checkpoint['state_dict'].items()}
    shapes['steps'] = torch.zeros(())
    for key in averaged.keys() | shapes.keys():
        if getattr(averaged.get(key), 'shape', None) != getattr(shapes.get(key), 'shape', None):
            return f'ema_state_dict.{key}'
    return None


def _misfit(value: Any, form: Any, place: str = '') -> str | None:
    entries, forms, fits = (), {}, True
    if value is None and '.' in place:  # what a run does not have
        return None
    if isinstance(form, dict):
        fits = isinstance(value, Mapping)
        entries, forms = value.items() if fits else (), form
        for name in form if fits else ():
            if not name.endswith('*') and value.get(name) is None:
                return f'{place}.{name}'.lstrip('.')
    elif isinstance(form, list):
        fits = isinstance(value, list | tuple)
        entries, forms = enumerate(value) if fits else (), {'*': form[0]}
    else:
        fits = isinstance(value, form) if isinstance(form, type) else form(value)
    found = (
        _misfit(entry, inner, f'{place}.{key}'.lstrip('.'))
        for key, entry in entries
        for inner in [f for name, f in forms.items() if fnmatchcase(str(key), name)][:1]
    )
    return next(filter(None, found), None) if fits else place


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
            if key not in state:
                return f'its optimizer kept no {key!r}, which optim_wrapper.optimizer needs'
            if isinstance(like, Tensor | int | float):
                shape, value = torch.as_tensor(like).shape, state[key]
                value = torch.as_tensor(value if isinstance(value, Tensor | int | float) else nan)
                if value.shape != shape or not value.isfinite().all() or (not shape and value < 0):
                    return f'{key!r} of {name!r} in its optimizer has another form, or is infinite'
    return None


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
