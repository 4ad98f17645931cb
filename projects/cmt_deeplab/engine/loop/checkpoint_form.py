"""Whether the entries of a checkpoint have the forms that training writes."""

from collections import defaultdict
from collections.abc import Mapping
from fnmatch import fnmatchcase
from math import isfinite, isnan
from numbers import Real
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor

from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.renamed import rename_weights


def _number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _figure(value: Any) -> bool:
    """A number; ReduceOnPlateauLR begins with one that is not finite."""
    return isinstance(value, Real) and not isinstance(value, bool) and not isnan(value)


def _count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _seed(value: Any) -> bool:
    return _count(value) and value < 2**32


def _named(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _history(value: Any) -> bool:
    """A ``HistoryBuffer``, or another thing, over which mmengine passes."""
    if not isinstance(value, HistoryBuffer):
        return True
    arrays = [vars(value).get(name) for name in ('_log_history', '_count_history')]
    return (
        all(isinstance(each, np.ndarray) and each.dtype.kind in 'iuf' for each in arrays)
        and arrays[0].shape == arrays[1].shape == (arrays[0].size,)
        and _count(vars(value).get('max_length'))
    )


# A dict has the forms of entries by name, where one with a * may be missing and stands for several;
# a list has that of each entry. The others are types and functions.
FORM = {
    'meta': {'epoch': _count, 'iter': _count, 'seed*': _seed},
    'message_hub': {
        'log_scalars': {'*': _history},
        'runtime_info': {'best_score*': _figure, 'best_ckpt*': str},
        'resumed_keys': {'*': bool},
    },
    'settings*': {'config*': _named, 'epochs*': bool, 'parameters*': [str], 'optimizer*': str},
    'ema_state_dict*': {'*': Tensor},
    'train_loop*': {
        **dict.fromkeys(('version*', 'processes*', 'sampler_seed*', 'validated*'), _count),
        **{'digest*': _seed, 'last_draw*': [_number]},
        'gradients*': {
            **{'iteration': _count, 'accumulated': _count, 'divisor': _number},
            'tensors': {'*': [Tensor]},
        },
    },
}
# several optimizers have such entries for each
FORM_OF_ONE_OPTIMIZER = FORM | {
    'optimizer*': {'state': {'*': Mapping}, 'param_groups': [{'params': [_count]}]},
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

    The average of an ``EMAHook`` gets its present names, and has those of the weights.
    """
    place = _misfit(checkpoint, FORM_OF_ONE_OPTIMIZER if one_optimizer else FORM)
    averaged = checkpoint.get('ema_state_dict')
    if place or averaged is None:
        return place
    rename_weights(averaged)
    shapes = {f'module.{key}': value.shape for key, value in checkpoint['state_dict'].items()}
    for key in (averaged.keys() | shapes.keys()) - {'steps'}:
        if key not in averaged or averaged[key].shape != shapes.get(key):
            return f'ema_state_dict.{key}'
    return None


def _misfit(value: Any, form: Any, place: str = '') -> str | None:
    entries, forms, fits = (), {}, True
    if value is None and place:  # what a run does not have
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


def misfit_moments(states: dict, names: list[str], runner: Any) -> str | None:
    """The first parameter of which an optimizer kept what is not finite or of another shape.

    Args:
        states: the state of the optimizer in a checkpoint, by the number of the parameter.
        names: those of the parameters.
    """
    parameters = dict(unwrapped(runner.model).named_parameters())
    for number, name in enumerate(names):
        for key, value in states.get(number, {}).items():
            if not isinstance(value, Tensor | float | int | str):
                continue
            fits = not isinstance(value, str) and torch.as_tensor(value).isfinite().all()
            shape, own = getattr(value, 'shape', ()), getattr(parameters.get(name), 'shape', None)
            if fits and shape not in ((), (1,), own):
                kept = kept_by(runner.optim_wrapper.optimizer, parameters.get(name))
                fits = getattr(kept.get(key), 'shape', None) == shape
            if not fits:
                return name
    return None


def kept_by(optimizer: torch.optim.Optimizer, like: Tensor | None = None) -> dict:
    """What an optimizer keeps of a parameter, seen from a copy that steps over one of zeros."""
    group = optimizer.param_groups[0]
    number = torch.zeros_like(group['params'][0].new_zeros(1) if like is None else like)
    number.requires_grad_().grad = torch.zeros_like(number)
    copy, groups = object.__new__(type(optimizer)), [dict(group, params=[number])]
    vars(copy).update(vars(optimizer), state=defaultdict(dict), param_groups=groups)
    copy.step()
    return copy.state[number]
