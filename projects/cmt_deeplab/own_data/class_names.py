"""Names of classes, and which of them are stuff."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import yaml

from cmt_deeplab.errors import UserError

from .files import Files

# Stems of the files that may hold names, the most reliable one first.
FILES = (
    'labelmap', 'classes', 'class_names', 'labels', 'label_names', 'categories', 'names', 'data',
    'dataset',
)  # fmt: skip
OFTEN_OTHERS = 'data', 'dataset'  # stems of files that often hold something else
NESTED = 'names', 'categories', 'labels'  # keys that hold the names in a JSON or YAML
SUFFIXES = '.txt', '.json', '.yaml', '.yml', '.names'
# with a header: "1, cell" in the one that Roboflow writes, "sky,70,130,180" in the other
TABLES = '_classes.csv', 'class_dict.csv'
BACKGROUND = 'background'  # the class of pixels without a segment
OBJECT = 'object'  # the class where nothing names one
BACKGROUND_NAMES = BACKGROUND, '_background_', 'bg'
# a line of labelmap.txt, as CVAT writes it, or of a table
COLOR = re.compile(r'(.+?)[:,] *(\d+, *\d+, *\d+)(:.*)?')
NUMBERED = re.compile(r'(\d+)\s*[:,\s]\s*(\S.*)')
VOID_NAMES = 'void', 'ignore', '__ignore__', 'ignored', 'unlabeled'
NONE = 'none'  # said by the user: no class is stuff


def is_no_object(name: str) -> bool:
    """Whether a name means background or void."""
    return name.lower() in (*BACKGROUND_NAMES, *VOID_NAMES)


@dataclass
class ClassNames:
    """The names of the values in a mask, from a file."""

    file: Path
    of_values: dict[int, str]
    kinds: dict[str, bool] = field(default_factory=dict)  # where the file tells things from stuff
    counted: bool = False  # the file lists names only, and the first may belong to 0 or to 1
    of_colors: bool = False  # the values are colors R + 256 G + 65536 B

    def shifted_to(self, values: Collection[int]) -> dict[int, str]:
        """The names by value, given the ``values`` that occur in masks.

        In a list of names only, the first name belongs to 0, or to 1 if a mask holds a value that
        is as large as the number of names and the first name is no background.
        """
        shift = (
            self.counted
            and len(self.of_values) in values
            and not is_no_object(self.of_values.get(0, ''))
        )
        return {value + shift: name for value, name in self.of_values.items()}


def read_class_names(files: Files) -> ClassNames | None:
    """The names of the file with names of classes that is nearest to the root, or None.

    A text file has a name on each line, or a value and a name; a JSON or YAML has a list or a
    dictionary, also below one of the keys ``NESTED``.

    Raises:
        UserError: the file cannot be read.
    """
    found = [path for path in files.with_suffix(*SUFFIXES) if path.stem.lower() in FILES]
    found.sort(key=lambda path: (len(path.parts), FILES.index(path.stem.lower())))
    for path in [*found, *(path for path in files.paths if path.name in TABLES)]:
        try:
            if path.suffix in ('.txt', '.names', '.csv'):
                lines = [line.strip() for line in path.read_text('utf-8-sig').splitlines()]
                lines = lines[path.name in TABLES :]
                content = _lines([line for line in lines if line and not line.startswith('#')])
            else:
                text = path.read_text('utf-8-sig')
                content = json.loads(text) if path.suffix == '.json' else yaml.safe_load(text)
            names = _class_names(path, content)
        except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
            if path.stem in OFTEN_OTHERS:
                continue
            raise UserError(
                f'{path} cannot be read as names of classes ({error}): write one name on each line '
                'of a text file classes.txt.'
            ) from None
        if names and names.of_values:
            return names
    return None


def _lines(lines: Sequence[str]) -> list[str] | dict[int, str] | dict[str, tuple[int, ...]]:
    """Parse lines: '0: sky' and '0 sky' have a value, 'sky:70,130,180::' a color, others a name."""
    colors = [COLOR.fullmatch(line) for line in lines]
    if lines and all(colors):
        return {match[1]: tuple(map(int, match[2].split(','))) for match in colors}
    pairs = [NUMBERED.fullmatch(line) for line in lines]
    if all(pairs):
        return {int(match[1]): match[2] for match in pairs}
    return list(lines)


def _class_names(path: Path, content: object) -> ClassNames | None:
    """The names in the content of a file, or None if it holds something else."""
    while isinstance(content, dict) and (keys := [key for key in NESTED if content.get(key)]):
        content = content[keys[0]]
    names = ClassNames(path, {})
    if isinstance(content, list):
        names.counted = all(isinstance(name, str) for name in content)
        if names.counted:
            content = dict(enumerate(content))
        else:
            names.kinds = {c['name']: bool(c['isthing']) for c in content if 'isthing' in c}
            content = {c['id']: c['name'] for c in content}
    elif not isinstance(content, dict):
        return None
    elif all(isinstance(value, tuple) for value in content.values()):
        names.of_colors = True
        content = {r + (g << 8) + (b << 16): name for name, (r, g, b) in content.items()}
    elif all(isinstance(value, int) for value in content.values()):
        content = {value: name for name, value in content.items()}
    if all(str(value).isdecimal() for value in content):
        names.of_values = {int(value): str(name) for value, name in content.items()}
    return names


def stuff_names(given: str | Sequence[str] | None) -> list[str] | None:
    """The names in 'sky, road' or in a list; [] for 'none', and None if nothing is given."""
    if given is None:
        return None
    names = [name.strip() for name in (given.split(',') if isinstance(given, str) else given)]
    return [name for name in names if name and name.lower() != NONE]


def with_commas(names: Sequence[str], known: Collection[str]) -> Iterator[str]:
    """Join again the names that were split at a comma of their own, such as 'door, gate'."""
    names, plain = [*names], {re.sub(r'\s*,\s*', ',', name): name for name in known}
    while names:
        ends = range(len(names), 0, -1)
        end = next((end for end in ends if ','.join(names[:end]) in plain), 1)
        first = ','.join(names[:end])
        yield plain.get(first, first)
        del names[:end]


def class_list(names: Iterable[str]) -> str:
    """The names for a sentence, in quotes where one has a comma."""
    return ', '.join(repr(name) if ',' in name else name for name in names) or 'none'


def decide_kinds(
    classes: dict[str, bool | None],
    stuff: Sequence[str] | None,
    ask: Callable[[Sequence[str]], Sequence[str]] | None,
) -> dict[str, bool]:
    """Decide of each class whether it is a thing, and leave out names that mean void.

    Raises:
        UserError: ``stuff`` names no class, or nothing says which classes are stuff.
    """
    kinds = {name: kind for name, kind in classes.items() if name.lower() not in VOID_NAMES}
    for name in kinds:
        if name.lower() in BACKGROUND_NAMES:
            kinds[name] = False
    unsaid = [name for name, kind in kinds.items() if kind is None]
    if stuff is None and len(unsaid) > 1:
        if ask is None:
            raise UserError(
                f'The data do not say which of the classes {class_list(unsaid)} are stuff, that '
                'is, regions such as sky or road that are not counted: name them by --stuff '
                'NAME,NAME, or give --stuff none if all are things.'
            )
        stuff = stuff_names(ask(unsaid))
    for name in with_commas(stuff or (), kinds):
        if name not in kinds:
            meant = ''.join(f' (is {c!r} meant?)' for c in get_close_matches(name, kinds, 1))
            raise UserError(
                f'There is no class {name!r} that could be stuff{meant}: the classes are '
                f'{class_list(kinds)}.'
            )
        kinds[name] = False
    return {name: kind is not False for name, kind in kinds.items()}
