"""The kinds of values that a config holds, and those that the annotations of a class allow.

``config_check.py`` compares them before a run, ``parts.py`` where a part of the model is built, and
``engine/config_overrides.py`` compares an override with the value that it replaces.
"""

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cmt_deeplab.construction import constructors

KINDS = {
    'dict': Mapping,
    'truth value': bool,  # before the numbers, of which Python counts it
    'number': (int, float),
    'word': (str, Path),  # before the lists, of which Python counts it
    'list': Sequence,
}


def kind_of(value: object) -> str:
    """The kind of a value of a config; for anything else, the name of its class."""
    kinds = (kind for kind, classes in KINDS.items() if isinstance(value, classes))
    return next(kinds, type(value).__name__)


def wrong_value(part_type: Callable, key: str, value: object) -> str | None:
    """What an argument must be where its value is of another kind, otherwise None.

    Other packages also take what their annotations leave out: of theirs, a dict, a word, and a
    number in place of a dict are refused alone.
    """
    annotation, of_this_package = _annotations(part_type).get(key, (Any, False))
    if of_this_package:
        return _wrong(annotation, value)
    allowed, kind = _allowed_kinds(annotation), kind_of(value)
    if kind in ('dict', 'word') or (kind == 'number' and allowed == ['dict']):
        return _wrong_kind(allowed, kind)
    return None


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


def _wrong_kind(allowed: list[str], kind: str) -> str | None:
    if not allowed or kind not in KINDS or kind in allowed:
        return None
    return f'a {" or a ".join(allowed)}, not a {kind}'


def _wrong(annotation: Any, value: object) -> str | None:
    """What a value must be that an annotation of this package does not allow, otherwise None."""
    kind, options = kind_of(value), _options(annotation)
    allowed = _allowed_kinds(annotation)
    numeric = {'number', 'truth value'}  # Python takes one for the other
    if not (kind in numeric and numeric.intersection(allowed)):
        wrong = _wrong_kind(allowed, kind)
        if wrong:
            return wrong
    if isinstance(value, float) and not value.is_integer() and {*options} <= {int, type(None)}:
        return 'a whole number'
    lists = [option for option in options if _kind_of_annotation(option) == 'list']
    return _wrong_entry(lists[0], value) if kind == 'list' and len(lists) == 1 else None


def _wrong_entry(annotation: Any, value: Sequence) -> str | None:
    """What a list must be where one of its entries is of another kind, otherwise None."""
    entries = typing.get_args(annotation)
    if typing.get_origin(annotation) is not tuple or ... in entries:
        entries = entries[:1] * len(value)
    elif len(value) != len(entries):
        return f'a list of {len(entries)} entries, not of {len(value)}'
    wrong = next(filter(None, map(_wrong, entries, value)), None)
    return wrong and f'a list whose entries are each {wrong}'
