"""The classes and kinds of values in a config, and those that the annotations of a class allow.

``config_check.py`` compares them before a run, ``parts.py`` where a part of the model is built, and
``engine/config_overrides.py`` compares an override with the value that it replaces.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence, Set
from functools import cache
from pathlib import Path
from typing import Any

import mmdet.registry
from mmengine.registry import Registry

from cmt_deeplab.construction import constructors

KINDS = {
    'dict': Mapping,
    'truth value': bool,  # before the numbers, of which Python counts it
    'number': (int, float),
    'word': (str, Path),  # before the lists, of which Python counts it
    'list': Sequence,
}
NUMERIC = {'number', 'truth value'}  # other packages take one for the other


@cache
def _registries() -> list[Registry]:
    """mmdet's registries and their parents in mmengine, with all that belongs to them."""
    found = [entry for entry in vars(mmdet.registry).values() if isinstance(entry, Registry)]
    found += [registry.parent for registry in found if registry.parent]
    for registry in found:
        registry.import_from_location()
    return found


def class_of(named: object) -> Callable | None:
    """The class of a type, or None where it is not known or not the only one of its name."""
    if not isinstance(named, str):
        return named if callable(named) else None
    found = {each.module_dict.get(named.removeprefix('mmdet.')) for each in _registries()} - {None}
    found -= {base for each in found for base in getattr(each, '__mro__', ())[1:]}  # replaced
    return found.pop() if len(found) == 1 else None


def kind_of(value: object) -> str:
    """The kind of a value of a config; for anything else, the name of its class."""
    kinds = (kind for kind, classes in KINDS.items() if isinstance(value, classes))
    return next(kinds, type(value).__name__)


def wrong_value(part_type: Callable, key: str, value: object) -> str | None:
    """What an argument must be where its value is of another kind, otherwise None.

    The annotations of other packages leave much out: mmengine has ``loss_scale: str``, which may
    be a number or a dict, and mmdet ``conv_cfg: bool``. There, only a word in place of a number, a
    truth value or a dict is refused, and one of the first two in place of a dict.
    """
    annotation, of_this_package = _annotations(part_type).get(key, (Any, False))
    if of_this_package:
        return wrong_kind_of(annotation, value)
    allowed, kind = _allowed_kinds(annotation), kind_of(value)
    may_be = kind in ('list', 'dict') or {'list', 'word'}.intersection(allowed)
    return None if may_be else _wrong_kind(allowed, kind, NUMERIC)


@cache
def _annotations(part_type: Callable) -> dict[str, tuple[Any, bool]]:
    """The annotation of each argument, and whether it is of this package."""
    found: dict[str, tuple[Any, bool]] = {}
    for function in constructors(part_type):
        try:
            hints = typing.get_type_hints(function)
        except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
            continue
        of_this_package = function.__module__.startswith('cmt_deeplab')
        found = {name: (hint, of_this_package) for name, hint in hints.items()} | found
    return found


def _options(annotation: Any) -> tuple:
    """What a union joins; otherwise the annotation alone."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def _allowed_kinds(annotation: Any) -> list[str]:
    """The kinds of values that an annotation allows; empty where it allows any."""
    kinds = {_kind_of_annotation(option) for option in _options(annotation)}
    return [] if None in kinds else sorted(kinds & KINDS.keys())


def _kind_of_annotation(annotation: Any) -> str | None:
    """The kind that an annotation other than a union allows; None where it allows any."""
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Literal:
        return kind_of(typing.get_args(annotation)[0])
    if not inspect.isclass(origin):
        return None
    for kind, classes in KINDS.items():
        if issubclass(origin, classes):
            return kind
    # a config has None, but no objects of torch and mmengine, such as a model
    known = origin is type(None) or origin.__module__.startswith(('torch', 'mmengine'))
    return origin.__name__ if known else None


def _wrong_kind(allowed: list[str], kind: str, alike: Set[str] = frozenset()) -> str | None:
    right = not allowed or kind in allowed or (kind in alike and alike.intersection(allowed))
    return None if right or kind not in KINDS else f'a {" or a ".join(allowed)}, not a {kind}'


def wrong_kind_of(annotation: Any, value: object) -> str | None:
    """What a value must be that an annotation does not allow, otherwise None."""
    kind, options, allowed = kind_of(value), _options(annotation), _allowed_kinds(annotation)
    if value is None:
        optional = type(None) in options or not allowed
        return None if optional else f'a {" or a ".join(allowed)}, not None'
    wrong = _wrong_kind(allowed, kind)
    if wrong:
        return wrong
    if kind == 'number' and not math.isfinite(value) and value != math.inf:
        return f'a number, not {value}'
    if isinstance(value, float) and not value.is_integer() and {*options} <= {int, type(None)}:
        return 'a whole number'
    nested = [option for option in options if kind == _kind_of_annotation(option)]
    return _wrong_entry(nested[0], value) if kind in ('dict', 'list') and len(nested) == 1 else None


def _wrong_entry(annotation: Any, value: Sequence | Mapping) -> str | None:
    """What a list or dict must be where one of its entries is of another kind, otherwise None."""
    entries, kind = typing.get_args(annotation), kind_of(value)
    if kind == 'dict':
        value, entries = [*value.values()], entries[1:] * len(value)
    elif typing.get_origin(annotation) is not tuple or ... in entries:
        entries = entries[:1] * len(value)
    elif len(value) != len(entries):
        return f'a list of {len(entries)} entries, not of {len(value)}'
    wrong = next(filter(None, map(wrong_kind_of, entries, value)), None)
    return wrong and f'a {kind} whose entries are each {wrong}'
