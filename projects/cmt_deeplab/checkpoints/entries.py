"""The entries of a checkpoint: their kinds, and texts that nothing may run."""

import functools
from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import not_finite

REMEDY = 'use another one, or let its owner save the state_dict alone with torch.save'
# What has to be a dict in a checkpoint where it is there, outer entries first.
DICTS = (
    *('state_dict', 'ema_state_dict', 'optimizer', 'meta', 'message_hub'),
    *('message_hub.log_scalars', 'message_hub.runtime_info', 'message_hub.resumed_keys'),
    *('settings', 'settings.config', 'train_loop'),
)
CLASSES = ('meta.classes', 'meta.thing_classes', 'meta.stuff_classes')
RECIPE = 'inference'  # in meta: the JSON text of recipe.py, which nothing runs
# Where mmengine, past and present, keeps the text of a config, and would run it.
CONFIG_TEXTS = (('meta', 'config'), ('meta', 'cfg'), ('message_hub', 'runtime_info', 'cfg'))


def check_entries(file: Any, content: dict) -> None:
    """Check that what code looks for in a checkpoint is of the right kind.

    Raises:
        UserError: an entry is of another kind, or a weight is not finite.
    """

    def check(fits: bool, place: str, kind: str) -> None:
        if not fits:
            raise UserError(f'The checkpoint {file} has no {kind} as its {place}; {REMEDY}.')

    for place in DICTS:
        *outer, key = place.split('.')
        value = _inner(content, outer).get(key, {})
        check(isinstance(value, dict) or (value is None and key != 'state_dict'), place, 'dict')
    weights = content.get('state_dict', content)
    meta, logs = _inner(content, ['meta']), _inner(content, ['message_hub', 'log_scalars'])
    info = meta.get('dataset_meta') or {}
    infos = info if isinstance(info, list) else [info]  # one each of mmdet's concatenated data sets
    for each in infos:
        check(isinstance(each, dict), 'meta.dataset_meta', 'dict')
    entries = [pair for each in infos for pair in each.items()]
    named = {
        'state_dict': weights,
        'meta.dataset_meta': [key for key, _ in entries],
        'message_hub.log_scalars': logs,
    }
    for place, names in named.items():
        printable = all(isinstance(name, str) and name.isprintable() for name in names)
        check(printable, place, 'dict of names')
    for key, given in [*meta.items(), *entries]:
        place = f'meta.{key}'.lower()
        if place in CLASSES and given is not None:
            names = _is_row(given, str) and ''.join(given).isprintable()
            check(names, place, 'list of names')
        if place == 'meta.palette' and not isinstance(given, str | None):
            rows = _is_row(given, list | tuple | np.ndarray)
            colors = rows and all(_is_row(color, Number) and len(color) == 3 for color in given)
            check(colors, place, 'list of colors')
    name = not_finite(weights)
    if name is not None:
        raise UserError(
            f"The checkpoint {file} has weights that are not finite ('{name}' has nan or inf): use "
            'another one, or train with a lower learning rate.'
        )


def _is_row(value: Any, kind: Any) -> bool:
    row = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim > 0)
    return row and all(isinstance(each, kind) for each in value)


def _inner(content: dict, places: Sequence[str]) -> dict:
    return functools.reduce(lambda part, place: part.get(place) or {}, places, content)


def drop_config_texts(content: dict) -> None:
    """Take out of a checked checkpoint the configs that mmengine would run as Python."""
    for *outer, key in CONFIG_TEXTS:
        _inner(content, outer).pop(key, None)
