"""What a constructor takes, and the sentence for a config that it does not accept.

``config_check.py`` asks before a run, ``parts.py`` where a part of the model is built, and
``mmengine_building.py`` after mmengine has failed to build something.
"""

import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from mmdet.registry import MODELS
from mmengine.registry import Registry
from torch import nn

from cmt_deeplab.errors import frames_of

LONGEST_QUOTE = 250  # characters of an error that a sentence repeats


def config_entries(value: object, path: str = '') -> Iterator[tuple[str, object]]:
    """Every entry of nested dicts and lists, by its dotted key below ``path``."""
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    if hasattr(value, 'items'):
        for key, inner in value.items():
            place = f'{path}.{key}' if path else str(key)
            yield place, inner
            yield from config_entries(inner, place)


def name_of(part_type: object) -> str:
    """The name of a class or function, as a config would write it."""
    return getattr(part_type, '__name__', None) or str(part_type)


def constructors(part_type: Callable) -> Iterator[Callable]:
    """The functions to which the arguments of a class or function go.

    An ``__init__`` with ``**kwargs`` is taken to pass them on to the one of the parent.
    """
    classes = part_type.__mro__ if inspect.isclass(part_type) else ()
    for function in [vars(base).get('__init__') for base in classes] or [part_type]:
        if function is object.__init__ or function is nn.Module.__init__:  # neither takes any
            return
        if function:
            yield function
            if not _passes_on(function):
                return


def _passes_on(function: Callable) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def keywords(part_type: Callable) -> tuple[dict[str, bool], bool]:
    """What a class or function takes by keyword.

    Returns:
        Whether each argument is required, by name; and whether others may be accepted as well: by
        a function with ``**kwargs``, or a class that says ``further_arguments = True``.
    """
    found: dict[str, bool] = {}
    is_class = inspect.isclass(part_type)
    for function in constructors(part_type):
        for parameter in [*inspect.signature(function).parameters.values()][is_class:]:
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                found.setdefault(parameter.name, parameter.default is parameter.empty)
    others = getattr(part_type, 'further_arguments', False) if is_class else _passes_on(part_type)
    return found, others


def shortened(value: object) -> str:
    """A value of the config for a sentence."""
    return str(value) if len(str(value)) <= 40 else f'{str(value)[:37]}...'


def key_not_taken(place: str, name: str, key: str) -> str:
    """The sentence about a key of the dict at ``place`` that its type does not take."""
    if key == '_delete_':
        return (
            f'{place} holds _delete_=True where no base config has a dict that it could replace: '
            'remove it.'
        )
    return (
        f"{place or 'The config'} gives {name} the key '{key}', which it does not take: correct or "
        'remove it; where a base config has left it over, _delete_=True in this dict replaces '
        'that of the base.'
    )


def keys_missing(place: str, name: str, keys: str) -> str:
    """The sentence about required arguments that the dict at ``place`` does not give."""
    return f'{place or "The config"} does not give {name} its {keys}: add it.'


def key_missing(place: str, key: str = 'type') -> str:
    """The sentence about a dict without a key that it needs."""
    what = 'the name of a class' if key == 'type' else 'it'
    place = place or 'A dict of the config'
    return f'{place} has no {key}: add {what}, or inherit a config that has it.'


def is_meant(word: str, known: Iterable[str]) -> str:
    """A question in brackets after an unknown word, if one of the known words is much like it."""
    near = get_close_matches(word, known, 1)
    return f' (is {near[0]} meant?)' if near else ''


def type_unknown(place: str, name: str, registry: Registry) -> str:
    """The sentence about a name that a registry does not have."""
    known = set(registry.module_dict) | set(registry.root.module_dict)
    package = name.rpartition('.')[0].partition('.')[0]
    if package and not find_spec(package):
        return f'{place} is {name!r}, but the package {package} is not installed: pip install it.'
    kinds = registry.name.replace('_', ' ').removesuffix('s') + 's'
    return (
        f'{place} is {name!r}, which is not among the registered {kinds}'
        f'{is_meant(name, known)}: correct it, or import its module in custom_imports.'
    )


def wrong_layer(place: str, config: Mapping[str, object]) -> str | None:
    """The sentence about a norm or activation below ``place`` that mmcv could not build."""
    for path, layer in config_entries(config, place):
        named = layer.get('type') if isinstance(layer, Mapping) else None
        if named is None or path.rpartition('.')[2] not in ('norm_cfg', 'act_cfg', 'conv_cfg'):
            continue
        layer_type = MODELS.get(named) if isinstance(named, str) else named
        if layer_type is None:
            return type_unknown(f'{path}.type', named, MODELS)
        taken, open_to_others = keywords(layer_type)
        unknown = layer.keys() - taken.keys() - {'type', 'requires_grad', '_scope_'}
        # ResNet takes keys out of conv_cfg
        if unknown and not open_to_others and not path.endswith('conv_cfg'):
            return key_not_taken(path, name_of(named), min(unknown))
    return None


def explain(
    error: Exception, place: str, part_type: Callable | None, config: Mapping[str, object]
) -> str | None:
    """The sentence about a constructor that failed, or None where this is a fault of the code.

    Args:
        place: the dotted key of ``config``.
        part_type: the class or function that it names, if any.
        config: the arguments that the user gave.
    """
    name, text = name_of(part_type) if part_type else 'its type', str(error)
    own = {getattr(constructor, '__qualname__', None) for constructor in constructors(part_type)}
    unexpected = re.search(
        r"(\S+)\(\) got (?:an unexpected|multiple values for) keyword argument '(\w+)'", text
    )
    if unexpected:
        function, key = unexpected.groups()
        if key in config:
            return key_not_taken(place, name, key)
        for path, _ in config_entries(config, place):  # of a part inside
            if path.endswith(f'.{key}'):
                inner = function.removesuffix('.__init__').rpartition('.')[2]
                return key_not_taken(path.removesuffix(f'.{key}'), inner, key)
        if function not in own and not _by_mmengine(frames_of(error)[-1]):
            return None  # raised by another call inside the constructor
        return (
            f'{place or "A part"} is of the type {name}, which does not fit there: the model gives '
            f'it {key!r}, which it does not take; choose another type.'
        )
    missing = re.search(r'(\S+)\(\) missing \d+ required .*arguments?: (.+)', text)
    if missing and (part_type is None or missing[1] in own):
        return keys_missing(place, name, missing[2])
    what = f'{place} ({name})' if place and part_type else place or name
    what += f' cannot be {"built" if part_type else "used"}'
    return _refusal(error, what, place, config)


def _refusal(error: Exception, what: str, place: str, config: Mapping) -> str | None:
    """What a constructor says to its arguments, or None where that is a fault of the code.

    The constructors of installed libraries and of this package are tested: what fails in them is
    due to what the config gives them. Of a class of the user, only what it raises itself counts.
    """
    own: list[FrameType] = []  # those of the constructor follow the last one of mmengine
    for frame in frames_of(error):
        own = [] if _by_mmengine(frame) else [*own, frame]
    installed = [is_installed(frame) for frame in own]
    if not all(installed) and (installed[-1] or not is_explicit(error)):
        return None
    values = 'its values'
    if isinstance(error, LookupError) and 'ann_file' in dict(config_entries(config)):
        values = 'ann_file or metainfo: this type reads files of another format or of other classes'
    return f'{what}: {quote(error)}; correct {culprit(error, place, config) or values}.'


def culprit(error: Exception, place: str, config: Mapping) -> str | None:
    """The dotted key of the first entry that an error, or the line that raised it, mentions."""
    said = set(re.findall(r'[A-Za-z_]\w*', f'{_line(error)} {error}')) - {'type'}
    mentioned = (
        path
        for path, value in config_entries(config, place)
        if path.rpartition('.')[2] in said or (isinstance(value, str) and value in said)
    )
    return next(mentioned, None)


def is_explicit(error: Exception) -> bool:
    """Whether a line of Python raised the error in so many words."""
    return isinstance(error, AssertionError) or _line(error).startswith('raise ')


def quote(error: Exception) -> str:
    """The message of an error in one line; where Python itself raised it, with the line of code."""
    explicit, text = is_explicit(error), str(error)
    if isinstance(error, KeyError) and error.args:
        text = str(error.args[0]) if explicit else f'there is no {text}'
    if not text:
        return f'`{_line(error)}` fails'
    text = ' '.join(text.split()).rstrip('.')
    if len(text) > LONGEST_QUOTE:  # it repeats values of the config
        text = f'{text[:LONGEST_QUOTE]}...'
    if explicit:
        return text
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    where = f'{Path(frame.f_code.co_filename).name}, line {line}'
    return f'{text} ({type(error).__name__} in {where})'


def _line(error: Exception) -> str:
    """The line of code that raised the error."""
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    return linecache.getline(frame.f_code.co_filename, number).strip()


def _by_mmengine(frame: FrameType) -> bool:
    return frame.f_globals.get('__name__', '').startswith(('mmengine.registry', 'mmengine.runner'))


def is_installed(frame: FrameType) -> bool:
    """Whether a frame runs code of this package, of an installed one or of Python."""
    top = frame.f_globals.get('__name__', '').partition('.')[0]
    file = getattr(sys.modules.get(top), '__file__', None) or ''  # a frame of Cython has no path
    return top in {'cmt_deeplab', *sys.stdlib_module_names} or 'site-packages' in Path(file).parts
