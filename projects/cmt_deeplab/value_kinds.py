"""The kinds of values that a config holds, and those that the annotations of a class allow."""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

KINDS = {
    'dict': Mapping,
    'truth value': bool,  # before the numbers, of which Python counts it
    'number': (int, float),
    'list': (list, tuple),
    'word': (str, Path),
}
# Python takes the one for the other, or mmengine and mmdet do beside their annotations
INTERCHANGEABLE = {('truth value', 'number'), ('number', 'truth value')}
TOLERATED = INTERCHANGEABLE | {
    ('number', 'list'),
    ('list', 'number'),
    ('list', 'dict'),
    ('number', 'word'),
    ('truth value', 'dict'),
    ('truth value', 'word'),
}


def kind_of(value: object) -> str:
    """The kind of a value of a config; for anything else, the name of its class."""
    for kind, classes in KINDS.items():
        if isinstance(value, classes):
            return kind
    return type(value).__name__


@cache
def annotations(part_type: Callable) -> dict[str, tuple[Any, bool]]:
    """The annotations of the arguments of a class or function, with those of its parents.

    Returns:
        Each annotation by name, and whether it is exact, as those of this package are. Other
        packages also take what their annotations leave out.
    """
    functions = [part_type]
    if inspect.isclass(part_type):
        functions = [vars(kind).get('__init__') for kind in part_type.__mro__[:-1]]
    found: dict[str, tuple[Any, bool]] = {}
    for function in filter(None, functions):
        try:
            hints = typing.get_type_hints(function)
        except (NameError, TypeError, AttributeError):  # names that exist for type checkers only
            hints = {}
        exact = function.__module__.startswith('cmt_deeplab')
        for name, annotation in hints.items():
            found.setdefault(name, (annotation, exact))
        parameters = inspect.signature(function).parameters.values()
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            break  # nothing is passed on to the parent
    return found


def allowed_kinds(annotation: Any) -> set[str] | None:
    """The kinds of values that an annotation allows; None where it allows any."""
    origin = typing.get_origin(annotation) or annotation
    if origin in (typing.Union, types.UnionType):
        kinds = [allowed_kinds(part) for part in typing.get_args(annotation)]
        return None if None in kinds else set().union(*kinds)
    if origin is typing.Literal:
        return {kind_of(value) for value in typing.get_args(annotation)}
    if annotation is None or annotation is type(None):
        return {'NoneType'}
    if not inspect.isclass(origin) or origin in (object, type, Callable):
        return None
    if issubclass(origin, bool):
        return {'truth value'}
    if issubclass(origin, int | float):
        return {'number'}
    if issubclass(origin, str | Path):
        return {'word'}
    if issubclass(origin, Mapping):
        return {'dict'}
    if issubclass(origin, Iterable) and origin.__module__.startswith(('collections', 'builtins')):
        return {'list'}
    built = origin.__name__ in ('Module', 'DataLoader', 'Tensor')  # no config holds their objects
    return set() if built or origin.__module__.startswith('mmengine') else None


def wrong_value(part_type: Callable, key: str, value: object) -> str | None:
    """What an argument must be where its value is of another kind, otherwise None."""
    annotation, exact = annotations(part_type).get(key, (Any, False))
    return _wrong(annotation, value, exact)


def _wrong(annotation: Any, value: object, exact: bool) -> str | None:
    allowed, kind = allowed_kinds(annotation), kind_of(value)
    if not allowed or kind not in KINDS:
        return None
    tolerated = INTERCHANGEABLE if exact else TOLERATED
    if kind not in allowed and not any((kind, other) in tolerated for other in allowed):
        return f'a {" or a ".join(sorted(allowed - {"NoneType"}))}, not a {kind}'
    if exact and kind == 'list':
        return _wrong_entry(annotation, value)
    whole = exact and kind == 'number' and isinstance(value, float) and not value.is_integer()
    if whole and annotation in (int, int | None):
        return 'a whole number'
    return None


def _wrong_entry(annotation: Any, value: list | tuple) -> str | None:
    """What a list must be where one of its entries is of another kind, otherwise None."""
    parts = typing.get_args(annotation) if _is_union(annotation) else [annotation]
    lists = [part for part in parts if 'list' in (allowed_kinds(part) or ())]
    if len(lists) != 1:
        return None
    arguments = typing.get_args(lists[0])
    if typing.get_origin(lists[0]) is tuple and ... not in arguments:
        if arguments and len(value) != len(arguments):
            return f'a list of {len(arguments)} entries, not of {len(value)}'
    elif arguments:
        arguments = arguments[:1] * len(value)
    for entry_annotation, entry in zip(arguments, value):
        wrong = _wrong(entry_annotation, entry, True)
        if wrong:
            return f'a list whose entries are each {wrong}'
    return None


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)
