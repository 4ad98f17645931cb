"""What a constructor takes, and the sentence for a config that it does not accept."""

import inspect
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

# Their constructors are tested: what fails in them is due to what the config gives them.
LIBRARIES = ('cmt_deeplab', 'mmdet', 'mmcv', 'mmengine', 'mmpretrain', 'mmseg', 'timm', 'torch')


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
    too.

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
            return found, False
    return found, True


def key_not_taken(place: str, name: str, key: str) -> str:
    """The sentence about a key of the dict at ``place`` that its type does not take."""
    return (
        f"{place} gives {name} the key '{key}', which it does not take: correct or remove it; "
        f'where a base config has left it over, _delete_=True in {place} replaces the dict of the '
        'base.'
    )


def keys_missing(place: str, name: str, keys: str) -> str:
    """The sentence about required arguments that the dict at ``place`` does not give."""
    return f'{place} does not give {name} its {keys}: add it.'


def explain(
    error: Exception, place: str, part_type: Callable, config: Mapping[str, object]
) -> str | None:
    """The sentence about a constructor that failed, or None where this is a fault of the code.

    Args:
        place: the dotted key of ``config``.
        part_type: the class that it names.
        config: the arguments that the user gave.
    """
    name = name_of(part_type)
    match = re.search(r"(\S+)\(\) got an unexpected keyword argument '(\w+)'", str(error))
    if match and isinstance(error, TypeError):
        function, key = match.groups()
        if key in config:
            return key_not_taken(place, name, key)
        deeper = [path for path, _ in config_entries(config, place) if path.endswith(f'.{key}')]
        inner = function.removesuffix('.__init__').rpartition('.')[2]
        return key_not_taken(deeper[0].removesuffix(f'.{key}'), inner, key) if deeper else None
    match = re.search(r'(\S+)\.__init__\(\) missing \d+ required .*arguments?: (.+)', str(error))
    if match and match[1] in {base.__qualname__ for base in inspect.getmro(part_type)}:
        return keys_missing(place, name, match[2])
    return _refusal(error, f'{place} ({name}) cannot be built', part_type)


def _refusal(error: Exception, start: str, part_type: Callable) -> str | None:
    """What a constructor says to its arguments.

    In a class of the user, only what that class itself raises counts.
    """
    frame, line_number = list(traceback.walk_tb(error.__traceback__))[-1]
    file = Path(frame.f_code.co_filename)
    line = linecache.getline(str(file), line_number).strip()
    explicit = line.startswith(('raise', 'assert'))
    own = frame.f_globals.get('__name__') == part_type.__module__
    if part_type.__module__.partition('.')[0] not in LIBRARIES and not (explicit and own):
        return None
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = ' '.join(str(text).split()).rstrip('.')
    if not text:
        text = f'`{line}` fails' if explicit else type(error).__name__
    where = '' if explicit else f' ({type(error).__name__} in {file.name}, line {line_number})'
    return f'{start}: {text}{where}.'
