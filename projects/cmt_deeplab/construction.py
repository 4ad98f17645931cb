"""What a constructor takes, and the sentence for a config that it does not accept."""

import inspect
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from mmdet.registry import MODELS
from mmengine.registry import Registry

BUILDERS = 'mmengine.registry', 'mmengine.runner'
DIGITS = {str(position) for position in range(100)}  # positions in lists, which errors name too
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


def keywords(part_type: Callable) -> tuple[dict[str, bool], bool]:
    """What a class or function takes by keyword.

    A class with ``**kwargs`` is taken to pass them on to its parent, whose arguments then count
    too. A class that passes them on to something else says so: ``further_arguments = True``.

    Returns:
        Whether each argument is required, by name; and whether others may be accepted as well.
    """
    chain = [part_type]
    if inspect.isclass(part_type):
        chain = [vars(base)['__init__'] for base in part_type.__mro__ if '__init__' in vars(base)]
    found: dict[str, bool] = {}
    for function in chain:
        if function is object.__init__ or function.__module__ == 'torch.nn.modules.module':
            return found, False
        parameters = list(inspect.signature(function).parameters.values())
        for parameter in parameters[inspect.isclass(part_type) :]:
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                found.setdefault(parameter.name, parameter.default is parameter.empty)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
            return found, getattr(part_type, 'further_arguments', False)
    return found, True


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


def type_missing(place: str) -> str:
    """The sentence about a dict without a type."""
    place = place or 'A dict of the config'
    return f'{place} has no type: add the name of a class, or inherit a config that has it.'


def type_unknown(place: str, name: str, registry: Registry) -> str:
    """The sentence about a name that a registry does not have."""
    known = set(registry.module_dict) | set(registry.root.module_dict)
    package = name.rpartition('.')[0].partition('.')[0]
    if package and not find_spec(package):
        return f'{place} is {name!r}, but the package {package} is not installed: pip install it.'
    near = get_close_matches(name, known, 1)
    meant = f' (is {near[0]} meant?)' if near else ''
    kinds = registry.name.replace('_', ' ').removesuffix('s') + 's'
    return (
        f'{place} is {name!r}, which is not among the registered {kinds}{meant}: correct it, or '
        'import its module in custom_imports.'
    )


def wrong_layer(place: str, config: Mapping[str, object]) -> str | None:
    """The sentence about a norm, activation or convolution that mmcv could not build."""
    for path, layer in config_entries(config, place):
        key = path.rpartition('.')[2]
        if key not in ('norm_cfg', 'act_cfg', 'conv_cfg') or not isinstance(layer, Mapping):
            continue
        named = layer.get('type')
        layer_type = MODELS.get(named) if isinstance(named, str) else named
        if layer_type is None and named is not None:
            return type_unknown(f'{path}.type', named, MODELS)
        if layer_type is None or key == 'conv_cfg':  # ResNet takes keys out of it
            continue
        taken, open_to_others = keywords(layer_type)
        for argument in layer.keys() - taken.keys() - {'type', 'requires_grad', '_scope_'}:
            if not open_to_others:
                return key_not_taken(path, name_of(named), argument)
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
    name, text = name_of(part_type), str(error)
    classes = part_type.__mro__ if inspect.isclass(part_type) else [part_type]
    unexpected = re.search(
        r"(\S+)\(\) got (?:an unexpected|multiple values for) keyword argument '(\w+)'", text
    )
    if unexpected and isinstance(error, TypeError):
        function, key = unexpected.groups()
        if key in config:
            return key_not_taken(place, name, key)
        for path, _ in config_entries(config, place):
            if path.endswith(f'.{key}'):
                inner = function.removesuffix('.__init__').rpartition('.')[2]
                return key_not_taken(path.removesuffix(f'.{key}'), inner, key)
        if not _raised_by_mmengine(error):  # but by a call inside the constructor
            return None
        return (
            f'{place or "A part"} is of the type {name}, which does not fit there: the model gives '
            f'it {key!r}, which it does not take; choose another type.'
        )
    if re.fullmatch(r'\w+\(\) takes no arguments', text) and config.keys() - {'type'}:
        return key_not_taken(place, name, next(key for key in config if key != 'type'))
    missing = re.search(r'(\S+)\(\) missing \d+ required .*arguments?: (.+)', text)
    if missing:
        owner = missing[1].rpartition('.')[0] or missing[1]
        if owner in {getattr(kind, '__qualname__', None) for kind in classes}:
            return keys_missing(place, name, missing[2])
    what = ' '.join(filter(None, [place, f'({name})' if part_type and place else '']))
    return refusal(error, what or name, place, config)


def _raised_by_mmengine(error: Exception) -> bool:
    """Whether the call of the constructor itself failed, in mmengine's registry."""
    frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
    return frame.f_globals.get('__name__', '').startswith(BUILDERS)


def is_explicit(error: Exception) -> bool:
    """Whether a line of Python raised the error in so many words."""
    word = 'assert ' if isinstance(error, AssertionError) else 'raise '
    return _line(error).startswith(word)


def refusal(error: Exception, what: str, place: str, config: Mapping[str, object]) -> str | None:
    """What a constructor says to its arguments, or None where that is a fault of the code.

    The constructors of installed libraries and of this package are tested: what fails in them is
    due to what the config gives them. Of a class of the user, only what it raises itself counts.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    explicit = is_explicit(error)
    foreign: list[bool] = []
    for frame in frames:  # those of the constructor follow the last one of mmengine
        by_mmengine = frame.f_globals.get('__name__', '').startswith(BUILDERS)
        foreign = [] if by_mmengine else [*foreign, not _installed(frame)]
    if any(foreign) and not (explicit and foreign[-1]):
        return None
    line_words, words = (set(re.findall(r'\w+', text)) for text in (_line(error), str(error)))
    mentioned = [
        path
        for path, value in config_entries(config, place)
        if path.rpartition('.')[2] in (line_words | words) - {'type'} - DIGITS
        or (isinstance(value, str) and value in words)
    ]
    remedy = f'correct {mentioned[0] if mentioned else "its values"}'
    return f'{what} cannot be built: {quote(error)}; {remedy}.'


def quote(error: Exception) -> str:
    """The message of an error in one line; where a line of code says more, that too."""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    text = str(error) if key is None else str(key) if is_explicit(error) else f'no {key!r}'
    if not text:
        return f'`{_line(error)}` fails'
    text = ' '.join(text.split()).rstrip('.')
    if len(text) > LONGEST_QUOTE:  # it repeats values of the config
        text = f'{text.partition(", but got")[0][:LONGEST_QUOTE]}...'
    if is_explicit(error):
        return text
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    where = f'{Path(frame.f_code.co_filename).name}, line {line}'
    return f'{text} ({type(error).__name__} in {where})'


def _line(error: Exception) -> str:
    """The line of code that raised the error."""
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    return linecache.getline(frame.f_code.co_filename, number).strip()


def _installed(frame: FrameType) -> bool:
    """Whether a frame runs code of this package, of an installed one or of Python."""
    top = frame.f_globals.get('__name__', '').partition('.')[0]
    own = top == 'cmt_deeplab' or top in sys.stdlib_module_names
    return own or 'site-packages' in Path(frame.f_code.co_filename).parts
