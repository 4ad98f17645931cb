"""How a part of the model is built for its slot, and checked; ``slots.py`` has the slots.

The constructors of the model call :func:`build_part`, also outside of a run.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Set
from typing import Any

from mmengine.config import ConfigDict
from torch import nn

from cmt_deeplab.construction import (
    explain,
    key_missing,
    key_not_taken,
    keys_missing,
    keywords,
    name_of,
    type_unknown,
    wrong_layer,
)
from cmt_deeplab.errors import UserError
from cmt_deeplab.slots import OF_THE_PART, ORIGIN, SLOTS, Slot
from cmt_deeplab.value_kinds import wrong_value


def build_part(
    slot: str, config: Mapping, *, adapt: Callable[[Any], Any] | None = None, **given: Any
) -> Any:
    """The part of one slot, built from its config.

    Args:
        slot: the dotted key of ``config``; of one entry of a list or dict of parts, the key of
            that entry, such as ``model.criterion.losses.pq``.
        config: ``type``, a registered name or a class, and the arguments that the user gives.
        adapt: makes a part that fits of the one that was built; others it returns as they are.
        given: the arguments that the code gives. The user's own norm_cfg and act_cfg of a part
            go before these; every other argument must have the value that is given here.

    Raises:
        UserError: the config is no dict, its type is not known, it sets an argument that the code
            gives to another value, its type does not accept its arguments, or the part does not
            offer what the slot needs.
    """
    part_type = part_class(slot, config)
    if inspect.isclass(part_type) and not adapt:
        _require_methods(slot, part_type, part_type)
    arguments = _arguments(slot, part_type, config, given)
    try:
        part = _built(slot, part_type, arguments, given.keys() - config.keys())
    except UserError as error:
        if slot in str(error) or str(error).startswith('model.'):
            raise
        raise type(error)(f'{slot}: {error}') from error
    except Exception as error:
        sentence = explain(error, slot, part_type, _own(config))
        if sentence is None:
            raise
        raise UserError(sentence) from error
    part = adapt(part) if adapt else part
    _require_methods(slot, type(part), part_type)
    if not all('(' in need or hasattr(part, need) for need in _slot(slot).offers):
        raise _misfit(slot, part_type)
    return part


def part_class(slot: str, config: Mapping) -> Callable:
    """The class (or function) that the config of a slot names.

    Raises:
        UserError: the config is no dict, has no type, or its type is not known.
    """
    needs = _slot(slot)
    fitting = f'; what fits: {needs.fits}.'
    if not isinstance(config, Mapping):
        raise UserError(
            f'{slot} is {config!r}, but {needs.what} is described by a dict with a type{fitting}'
        )
    part_type = config.get('type')
    if part_type is None:
        raise UserError(key_missing(slot).removesuffix('.') + fitting)
    if isinstance(part_type, str):
        with needs.registry.switch_scope_and_registry(config.get('_scope_')) as registry:
            part_type = registry.get(part_type)
        if part_type is None:
            sentence = type_unknown(f'{slot}.type', config['type'], needs.registry)
            raise UserError(sentence.removesuffix('.') + fitting)
    if not callable(part_type):
        raise UserError(f'{slot}.type is {part_type!r}, but must be the name of a class{fitting}')
    return part_type


def _built(slot: str, part_type: Callable, arguments: dict, ours: Set[str]) -> Any:
    """A part; what its class sets itself is left out of ``ours``, the arguments of the code."""
    while True:
        try:
            return _slot(slot).registry.build(ConfigDict(arguments, type=part_type))
        except TypeError as error:
            twice = re.search(r"multiple values for keyword argument '(\w+)'", str(error))
            if not twice or twice[1] not in ours & arguments.keys():
                raise
        del arguments[twice[1]]


def _slot(slot: str) -> Slot:
    return SLOTS.get(slot) or SLOTS[slot.rpartition('.')[0]]


def _own(config: Mapping) -> dict:
    """The arguments that the user gives."""
    return {key: value for key, value in config.items() if key not in ('type', '_scope_')}


def _arguments(slot: str, part_type: Callable, config: Mapping, given: dict) -> dict:
    """The arguments of a part: those that the code gives as far as it takes them, and its own."""
    takes, open_to_others = keywords(part_type)
    may_lack = _slot(slot).may_lack
    arguments = {
        key: value
        for key, value in given.items()
        if key in takes or (open_to_others and key not in may_lack)
    }
    if given.keys() - arguments.keys() - may_lack:
        raise _misfit(slot, part_type)
    for key, value in _own(config).items():
        if key in given and key not in OF_THE_PART:
            if _plain(value) != _plain(given[key]):
                raise UserError(
                    f'{slot}.{key} is {value!r}, but it must be {_plain(given[key])!r}, '
                    f'{ORIGIN.get(key, "which the model gives")}: remove the key.'
                )
        elif key in takes or open_to_others:
            arguments[key] = value
            wrong = wrong_value(part_type, key, value)
            if wrong:
                raise UserError(f'{slot}.{key} is {value!r}, but must be {wrong}.')
        else:
            raise UserError(key_not_taken(slot, name_of(part_type), key))
    wrong = wrong_layer(slot, _own(config))
    if wrong:
        raise UserError(wrong)
    own = inspect.signature(part_type).parameters  # a subclass may give its parent what that needs
    missing = [key for key in own if takes.get(key) and key not in arguments]
    if missing:
        names = ' and '.join(repr(key) for key in missing)
        raise UserError(keys_missing(slot, name_of(part_type), names))
    return arguments


def _plain(value: object) -> object:
    """``value`` with lists in place of tuples, for comparisons."""
    return [_plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def _require_methods(slot: str, offering: type, part_type: Callable) -> None:
    """Raise a :class:`UserError` unless a class has the methods that the slot needs."""
    for need in _slot(slot).offers:
        name, bracket, arguments = need.rstrip(')').partition('(')
        if not bracket:  # an attribute, which an object may have and its class not
            continue
        by_position, _, by_keyword = arguments.partition('*')
        # Every class has a __call__, that of its metaclass, and a module calls its forward.
        if name == '__call__' and issubclass(offering, nn.Module):
            name = 'forward'
        methods = (vars(base)[name] for base in offering.__mro__ if name in vars(base))
        method = next(methods, nn.Module.forward)
        try:
            if method is nn.Module.forward:  # it raises NotImplementedError
                raise TypeError
            inspect.signature(method).bind(
                'self',
                *re.findall(r'\w+', by_position),
                **dict.fromkeys(re.findall(r'\w+', by_keyword)),
            )
        except TypeError:
            raise _misfit(slot, part_type) from None


def _misfit(slot: str, part_type: Callable) -> UserError:
    needs = _slot(slot)
    return UserError(
        f'{slot} is of the type {name_of(part_type)}, which does not fit: {needs.what} offers '
        f'{" and ".join(needs.offers)} and takes what the model gives; what fits: {needs.fits}.'
    )
