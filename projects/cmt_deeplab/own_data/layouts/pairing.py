"""Finding the masks of each image by the names of files and folders.

The words of a name may tell the role of a file: ``images``, ``train_masks``, ``a_instance.png``.
The nearest folder decides, and the end of the file's own name refines it. Without these words, an
image and its masks have the same names.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import EXACT, FORMATS

from ..files import SPLITS, Files, words

IMAGE, MASK, CLASSES, INSTANCES, PICTURE = 'image', 'mask', 'classes', 'instances', 'picture'
ROLES = {  # the role of a name is the first one of which it has a word
    PICTURE: 'visualization visualizations viz vis overlay overlays preview previews outlines',
    CLASSES: 'class classes semantic semantics sem semseg category categories',
    INSTANCES: 'instance instances inst object objects',
    MASK: 'mask masks label labels gt truth annotation annotations seg segmentation segmentations '
    'groundtruth target targets',
    IMAGE: 'image images img imgs photo photos raw rgb input inputs',
}
ROLES = {role: frozenset(names.split()) for role, names in ROLES.items()}
FILLERS = frozenset('jpeg jpg png tif tiff ids id cp fine maps map files'.split())
ROLE_WORDS = frozenset.union(*ROLES.values(), FILLERS)
SPLIT_WORDS = {name for names in SPLITS.values() for name in names}
# A word of a role at the start or the end of a name, with its separator.
AT_START = re.compile(rf'^(?:{"|".join(sorted(ROLE_WORDS))})[_\-. ]+', re.IGNORECASE)
AT_END = re.compile(rf'[_\-. ]+(?:{"|".join(sorted(ROLE_WORDS))})$', re.IGNORECASE)

NNUNET, CHANNEL = 'imagesTr', re.compile(r'_\d{4}$')


def role_of_words(name: str) -> str | None:
    """The role that the words of a name give it, or None."""
    return next((role for role, names in ROLES.items() if not names.isdisjoint(words(name))), None)


@dataclass(frozen=True)
class Place:
    """A file and what its name and folders tell."""

    path: Path
    split: str | None
    parts: tuple[str, ...]  # the names of its folders
    role: str | None

    @cached_property
    def folders(self) -> tuple[str, ...]:
        return telling(self.parts)

    @cached_property
    def plain(self) -> str:
        """The name without words of a role."""
        name = self.path.stem
        while (shorter := AT_END.sub('', AT_START.sub('', name))) != name:
            name = shorter
        return name

    @property
    def without_channel(self) -> str:
        """The name that the masks of nnU-Net have: that of the image without a channel number."""
        return CHANNEL.sub('', self.path.stem) if NNUNET in self.parts else self.path.stem


def telling(parts: Sequence[str]) -> tuple[str, ...]:
    """Folders without words of roles; those that are then empty or name a split are left out."""
    left = ([word for word in words(part) if word not in ROLE_WORDS] for part in parts)
    return tuple(' '.join(part) for part in left if part and SPLIT_WORDS.isdisjoint(part))


def place_of(files: Files, path: Path) -> Place:
    parts = files.parts(path)
    role = next(filter(None, map(role_of_words, parts[::-1])), None)
    name = re.split(r'[_\-. ]', path.stem)
    of_name, of_start = role_of_words(name[-1]), role_of_words(name[0])
    if of_name is None and of_start in (MASK, IMAGE):  # mask_1.png
        of_name = of_start
    if role is None or (role == MASK and of_name in (CLASSES, INSTANCES, PICTURE)):
        role = of_name
    return Place(path, files.split_of(path), parts, role)


@dataclass(frozen=True)
class Mask:
    """A mask of an image; ``rest`` is the part of its names that the image's name lacks."""

    path: Path
    role: str
    rest: tuple[str, ...]  # parts of names, without words of a role; () where both names agree


@dataclass
class Pairing:
    """The masks of each image, and the files without a partner."""

    masks: dict[Path, list[Mask]]
    splits: dict[Path, str | None]
    images_alone: list[Path]
    masks_alone: list[Path]


def pair_up(files: Files) -> Pairing:
    """Find the masks of every image.

    Raises:
        UserError: a mask may belong to two images.
    """
    places = _with_roles([place_of(files, path) for path in files.images])
    images = [place for place in places if place.role in (None, IMAGE)]
    index = _Images(images)
    found, alone = {image.path: [] for image in images}, []
    for place in places:
        if place.role in (MASK, CLASSES, INSTANCES):
            image, rest = index.image_of(place)
            if image:
                parts = re.split(r'[_\-. ]+', rest)
                rest = tuple(part for part in parts if not {*words(part)} <= ROLE_WORDS)
                found[image.path].append(Mask(place.path, place.role, rest))
            else:
                alone.append(place.path)
    return Pairing(
        {path: masks for path, masks in found.items() if masks},
        {image.path: image.split for image in images},
        [path for path, masks in found.items() if not masks],
        alone,
    )


def _with_roles(places: list[Place]) -> list[Place]:
    """Find masks whose names do not tell it, by a JPEG beside them or by their pixels."""
    exact, others = {}, set()
    for place in places:
        if place.role is None:
            name = place.path.with_suffix('')
            if place.path.suffix.lower() in EXACT:
                exact[name] = place.path
            else:
                others.add(name)
    if beside := {exact[name] for name in others & {*exact}}:
        return [replace(p, role=MASK) if p.path in beside else p for p in places]
    if any(place.role in (MASK, CLASSES, INSTANCES) for place in places):
        return places
    folders = {place.path.parent: place.path for place in places}
    even = {folder for folder, path in folders.items() if _evenness(path) > EVEN}
    if not even or len(even) == len(folders):
        return places
    level = len(os.path.commonprefix([place.parts for place in places]))  # where folders part
    return [
        replace(
            place,
            role=MASK if place.path.parent in even else None,
            parts=place.parts[:level] + place.parts[level + 1 :],
        )
        for place in places
    ]


EVEN = 0.9  # in a mask, a larger share of the pixels equals the left neighbor


def _evenness(path: Path) -> float:
    try:
        with Image.open(path, formats=FORMATS) as image:
            pixels = np.asarray(image)
        return float((pixels[:, 1:] == pixels[:, :-1]).mean())
    except (OSError, ValueError):
        return 0


class _Images:
    """An index of the images by their names."""

    def __init__(self, images: Sequence[Place]) -> None:
        self.by_name, self.by_folder = defaultdict(list), defaultdict(list)
        self.anywhere = defaultdict(list)
        for image in images:
            for name in {image.path.stem, image.plain, image.without_channel}:
                self.by_name[image.folders, name].append(image)
                self.anywhere[name].append(image)
            self.by_folder[image.folders].append(image)

    def image_of(self, mask: Place) -> tuple[Place | None, str]:
        """The image of a mask, or None, and the rest of the mask's names.

        Raises:
            UserError: two images fit equally well.
        """
        for folders, name, rest in _guesses(mask):
            found = self.by_name.get((folders, name), [])
            found = [image for image in found if image.split == mask.split] or found
            found = [image for image in found if image.path.stem == name] or found
            if len(found) > 1:
                raise UserError(
                    f'The mask {mask.path} may belong to {found[0].path} or {found[1].path}: give '
                    'every image a name of its own, and write its channels into one file.'
                )
            if found:
                return found[0], rest
        alone = self.by_folder[mask.folders] if mask.folders else ()
        if len(alone) == 1:
            return alone[0], mask.path.stem
        alone = self.anywhere[mask.plain]  # "tissue images/a.png" and "label masks/a.png"
        return (alone[0] if len(alone) == 1 else None), ''


def _guesses(mask: Place) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Folders and name that the image of a mask may have, and the rest of the mask's names."""
    folders, stem = mask.folders, mask.path.stem
    yield folders, stem, ''
    yield folders, mask.plain, ''
    for depth in range(len(mask.parts), 0, -1):
        above, of_image = mask.parts[: depth - 1], mask.parts[depth - 1]
        rest = ' '.join([*mask.parts[depth:], stem])
        yield telling(above), of_image, rest  # masks/NAME/1.png
        yield telling([*above, of_image]), of_image, rest  # NAME/masks/1.png
    for depth in range(len(folders), -1, -1):
        class_name = ' '.join(folders[depth:])
        yield folders[:depth], stem, class_name  # masks/cell/NAME.png
        for gap in [*re.finditer(r'[_\-. ]', stem)][::-1]:  # NAME_1.png, masks/cell/NAME_1.png
            yield folders[:depth], stem[: gap.start()], f'{class_name} {stem[gap.end() :]}'
