"""How a part of the model is built for its slot, and checked; ``slots.py`` has the slots."""

import inspect
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.config import ConfigDict
from torch import nn

from cmt_deeplab.construction import explain, key_not_taken, keys_missing, keywords, name_of
from cmt_deeplab.errors import UserError
from cmt_deeplab.slots import OF_THE_PART, ORIGIN, SLOTS, Slot


def build_part(
    slot: str, config: Mapping, *, adapt: Callable[[Any], Any] | None = None, **given: Any
) -> Any:
    """The part of one slot, built from its config.

    Args:
        slot: the dotted key of ``config``; of one entry of a list or dict of parts, the key of
            that entry, such as ``model.criterion.losses.pq``.
        config: ``type``, a registered name or a class, and the arguments that the user gives.
        adapt: makes a part that fits of the one that was built; others it returns as they are.
        given: the arguments that the code gives.

    Raises:
        UserError: the config is no dict, its type is not known, it sets an argument that the code
            gives to another value, its type does not accept its arguments, or the part does not
            offer what the slot needs.
    """
    part_type = part_class(slot, config)
    arguments = _arguments(slot, part_type, config, given)
    try:
        part = _slot(slot).registry.build(ConfigDict(arguments, type=part_type))
    except UserError:
        raise
    except Exception as error:
        own = {key: value for key, value in config.items() if key not in ('type', '_scope_')}
        sentence = explain(error, slot, part_type, own)
        if sentence is None:
            raise
        raise UserError(sentence) from error
    part = adapt(part) if adapt else part
    if not all(_offered(part, need) for need in _slot(slot).offers):
        raise _misfit(slot, part_type)
    return part


def part_class(slot: str, config: Mapping) -> Callable:
    """The class (or function) that the config of a slot names.

    Raises:
        UserError: the config is no dict, has no type, or its type is not known.
    """
    what, registry = _slot(slot).what, _slot(slot).registry
    if not isinstance(config, Mapping):
        raise UserError(
            f'{slot} is {config!r}, but {what} is described by a dict such as '
            f"dict(type='...'): {_slot(slot).fits} fit."
        )
    part_type = config.get('type')
    if isinstance(part_type, str):
        with registry.switch_scope_and_registry(config.get('_scope_')) as scoped:
            part_type = scoped.get(part_type)
        if part_type is None:
            near = get_close_matches(config['type'], registry.module_dict, 1)
            raise UserError(
                f'{slot}.type is {config["type"]!r}, which is not registered'
                f'{f" (is {near[0]} meant?)" if near else ""}: correct it, or import its module '
                f'in custom_imports; {_slot(slot).fits} fit.'
            )
    if not callable(part_type):
        raise UserError(
            f'{slot} has no type: name the class of {what}; {_slot(slot).fits} fit.'
            if part_type is None
            else f'{slot}.type is {part_type!r}, but must be the name of a class, or a class.'
        )
    return part_type


def _slot(slot: str) -> Slot:
    return SLOTS.get(slot) or SLOTS[slot.rpartition('.')[0]]


def _arguments(slot: str, part_type: Callable, config: Mapping, given: dict) -> dict:
    """The arguments of a part: those of its config, and those of the code that it takes."""
    takes, open_to_others = keywords(part_type)
    own = {key: value for key, value in config.items() if key not in ('type', '_scope_')}
    for key in own:
        if key in given and key not in OF_THE_PART and _plain(own[key]) != _plain(given[key]):
            raise UserError(
                f'{slot}.{key} is {own[key]!r}, but it must be {_plain(given[key])!r}, '
                f'{ORIGIN.get(key, "which the model gives")}: remove the key.'
            )
        if not (key in takes or open_to_others or key in given):
            raise UserError(key_not_taken(slot, name_of(part_type), key))
    common = {}
    for key, value in given.items():
        if key in takes or (open_to_others and key not in _slot(slot).may_lack):
            common[key] = own.get(key, value)
        elif key not in _slot(slot).may_lack:
            raise _misfit(slot, part_type)
        elif key in own and key in OF_THE_PART:
            raise UserError(key_not_taken(slot, name_of(part_type), key))
    own = {key: value for key, value in own.items() if key not in given}
    missing = [repr(key) for key, required in takes.items() if required]
    missing = [key for key in missing if key[1:-1] not in own.keys() | common.keys()]
    if missing:
        raise UserError(keys_missing(slot, name_of(part_type), ' and '.join(missing)))
    return own | common


def _plain(value: object) -> object:
    """``value`` with lists in place of tuples, for comparisons."""
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _offered(part: object, need: str) -> bool:
    """Whether a part has an attribute, or a method that can be called as ``need`` says."""
    name, _, arguments = need.rstrip(')').partition('(')
    if not arguments or getattr(type(part), name, None) in (None, nn.Module.forward):
        return hasattr(part, name) and not arguments
    by_position, _, by_keyword = arguments.partition('*')
    try:
        inspect.signature(getattr(part, name)).bind(
            *re.findall(r'\w+', by_position), **dict.fromkeys(re.findall(r'\w+', by_keyword))
        )
    except TypeError:
        return False
    return True


def _misfit(slot: str, part_type: Callable) -> UserError:
    what, offers, fits = _slot(slot).what, _slot(slot).offers, _slot(slot).fits
    return UserError(
        f'{slot} is a {name_of(part_type)}, which does not fit there: {what} offers '
        f'{" and ".join(offers)} and takes the arguments that the model gives; {fits} fit.'
    )
