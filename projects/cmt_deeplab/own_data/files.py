"""The files of a folder, and what the names of files and folders tell."""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath

from cmt_deeplab.errors import MissingFileError, UserError, require_file
from cmt_deeplab.image_file import IMAGES
from cmt_deeplab.panoptic_json import PREDICTED, is_prediction

STATE = 'conversion.json'  # in a folder that a layout was converted into
ARGUMENTS = 'arguments.json'  # in the work dir of a training on own data
SPLITS = dict(
    train=('train', 'training', 'trainset'),
    val=('val', 'valid', 'validation', 'valset', 'dev'),
    test=('test', 'testing', 'testset'),
)


class Files:
    """All files below ``root``, sorted by name.

    Hidden files are left out, and so is what this package has written: conversions, work dirs and
    predictions.

    Raises:
        MissingFileError: there is no such folder.
        UserError: it is a file.
    """

    extracted: Path  # the folder for images that annotation files hold, set before they are read

    def __init__(self, root: Path) -> None:
        if root.is_file():
            packed = ', unpacked first' if root.suffix in ('.zip', '.tar', '.gz', '.tgz') else ''
            raise UserError(
                f'{root} is a file: name the folder that holds images and annotations{packed}.'
            )
        if not root.is_dir():
            raise MissingFileError(f'There is no folder {root}: correct the path of the data.')
        self.root = root
        self.paths = sorted(_files_below(root))
        self.images = [path for path in self.paths if path.suffix.lower() in IMAGES]

    def with_suffix(self, *suffixes: str) -> list[Path]:
        return [path for path in self.paths if path.suffix.lower() in suffixes]

    def parts(self, path: Path) -> tuple[str, ...]:
        """The folders between the root and a file; none for a file that lies elsewhere."""
        return path.relative_to(self.root).parts[:-1] if path.is_relative_to(self.root) else ()

    def split_of(self, path: Path, *, by_name: bool = False) -> str | None:
        """The split of a file, by the nearest folder whose name tells it, or None.

        ``by_name``, for annotation files, looks at the name of the file first. If no name tells the
        split, lists of images are searched for the file, with or without its suffix.
        """
        parts = (*self.parts(path), *([path.stem] if by_name else ()))
        named = next(filter(None, map(split_named, parts[::-1])), None)
        return named or self._listed.get(path.name) or self._listed.get(path.stem)

    @cached_property
    def _listed(self) -> dict[str, str]:
        """The splits of images that lists such as ImageSets/Segmentation/train.txt name."""
        return {
            PurePosixPath(line.strip().replace('\\', '/')).name: split
            for file in self.with_suffix('.txt')
            if (split := split_named(file.stem))
            for line in file.read_text('utf-8-sig', 'replace').splitlines()
        }

    def fingerprint(self) -> str:
        """A text that changes with the name, the size or the time of any file."""
        digest = hashlib.sha256()
        for path in self.paths:
            require_file(str(path), f'{path} is a link to a file that does not exist: remove it.')
            state = path.stat()
            digest.update(
                f'{path.relative_to(self.root)}\0{state.st_size}\0{state.st_mtime_ns}\n'.encode()
            )
        return digest.hexdigest()

    @cached_property
    def _images_by_name(self) -> dict[str, list[Path]]:
        by_name = defaultdict(list)
        for path in self.images:
            by_name[path.name].append(path)
        return by_name

    def find_image(self, name: str, named_by: Path) -> Path | None:
        """The image that an annotation file names, wherever it lies below the root, or None.

        Of several images with this name the one is taken that shares the most folders with
        ``name``, then one of the same split, then the nearest one.

        Raises:
            UserError: two images fit equally well.
        """
        wanted = PurePosixPath(name.replace('\\', '/')).parts
        split = self.split_of(named_by, by_name=True)

        def fit(path: Path) -> tuple[int, bool, int]:
            same = same_at_the_end(path.parts, wanted)
            near = len(os.path.commonpath([path.parent, named_by.parent]))
            return same, self.split_of(path) == split, near

        found = sorted(self._images_by_name[wanted[-1]] if wanted else (), key=fit)
        if len(found) > 1 and fit(found[-1]) == fit(found[-2]):
            raise UserError(
                f'{named_by} names the image {name}, which may be {found[-2]} or {found[-1]}: take '
                'one of them out of the folder, or write the folder into the name.'
            )
        return found[-1] if found else None


def same_at_the_end(one: Sequence[str], other: Sequence[str]) -> int:
    """How many of the last parts of two paths are equal."""
    equal = (mine == theirs for mine, theirs in zip(one[::-1], other[::-1]))
    return sum(1 for _ in takewhile(bool, equal))


def split_named(name: str) -> str | None:
    """The split that a word of a name means: 'train' for 'images_train2017'."""
    for split, names in SPLITS.items():
        if not {*words(name)}.isdisjoint(names):
            return split
    return None


def words(name: str) -> list[str]:
    """The words of a name in lower case: 'gtFine_instanceIds' has gt, fine, instance and ids."""
    return [word.lower() for word in re.findall(r'[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+', name)]


def named(paths: list[Path], most: int = 3) -> str:
    """The names of the first few of many files, for a sentence."""
    names = [*dict.fromkeys(path.name for path in paths)]
    return ', '.join(names[:most]) + f' and {len(names) - most} more' * (len(names) > most)


def counted(number: int, noun: str) -> str:
    """'1 image' or '3 images'."""
    return f'{number} {noun}{"s" * (number != 1)}'


def _files_below(root: Path) -> Iterator[Path]:
    seen = set()
    for folder, below, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen or STATE in names or (ARGUMENTS in names and folder != str(root)):
            below.clear()
            continue
        seen.add(real)
        if PREDICTED in names and is_prediction(Path(folder, PREDICTED)):
            names.remove(PREDICTED)
            below[:] = [name for name in below if name not in ('panoptic', 'overlay')]
        below[:] = [name for name in below if not name.startswith(('.', '__MACOSX', 'work_dirs'))]
        yield from (Path(folder, name) for name in names if not name.startswith('.'))
