"""Which masks belong to which image, by the names of files and folders.

A name has a role if its words name one: ``images``, ``train_masks``, ``a_instance.png``. The
nearest folder decides, and the end of the file's own name refines it. An image and its masks agree
in what is left of their names.
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
from cmt_deeplab.image_file import FORMATS

from ..files import EXACT, SPLITS, Files, words

IMAGE, MASK, CLASSES, INSTANCES, PICTURE = 'image', 'mask', 'classes', 'instances', 'picture'
ROLES = {  # the first one that a name has a word of is its role
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
# Words of a role at the start or the end of a name, with what separates them.
AT_START = re.compile(rf'^(?:{"|".join(sorted(ROLE_WORDS))})[_\-. ]+', re.IGNORECASE)
AT_END = re.compile(rf'[_\-. ]+(?:{"|".join(sorted(ROLE_WORDS))})$', re.IGNORECASE)


def role_of_words(name: str) -> str | None:
    """The role that the words of a name give it, or None."""
    return next((role for role, names in ROLES.items() if not names.isdisjoint(words(name))), None)


@dataclass(frozen=True)
class Place:
    """A file by what its name says."""

    path: Path
    split: str | None
    parts: tuple[str, ...]  # its folders as they are called
    role: str | None

    @cached_property
    def folders(self) -> tuple[str, ...]:
        """The folders without those that name a role or a split alone."""
        left = (_without_roles(part) for part in self.parts)
        return tuple(part for part in left if part)

    @cached_property
    def plain(self) -> str:
        """The name without words of a role."""
        name = self.path.stem
        while (shorter := AT_END.sub('', AT_START.sub('', name))) != name:
            name = shorter
        return name


def _of_role(part: str) -> bool:
    return {*words(part)} <= ROLE_WORDS  # also of ''


def _without_roles(part: str) -> str:
    left = [word for word in words(part) if word not in ROLE_WORDS]
    return '' if not SPLIT_WORDS.isdisjoint(left) else ' '.join(left)


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
    """A mask of an image; ``rest`` is what its names say besides the image's name."""

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
            image, rest = next(index.candidates(place), (None, ''))
            if image:
                left = [part for part in re.split(r'[_\-. ]+', rest) if not _of_role(part)]
                found[image.path].append(Mask(place.path, place.role, tuple(left)))
            else:
                alone.append(place.path)
    return Pairing(
        {path: masks for path, masks in found.items() if masks},
        {image.path: image.split for image in images},
        [path for path, masks in found.items() if not masks],
        alone,
    )


def _with_roles(places: list[Place]) -> list[Place]:
    """Roles for masks whose names do not tell: by a JPEG beside them, or by their pixels."""
    unsaid = [place for place in places if place.role is None]
    exact = {p.path.with_suffix(''): p for p in unsaid if p.path.suffix.lower() in EXACT}
    others = {p.path.with_suffix('') for p in unsaid if p.path.suffix.lower() not in EXACT}
    if beside := [exact[name] for name in others & {*exact}]:
        return [replace(p, role=MASK) if p in beside else p for p in places]
    if any(place.role in (MASK, CLASSES, INSTANCES) for place in places):
        return places
    folders = defaultdict(list)
    for place in places:
        folders[place.path.parent].append(place)
    even = [folder for folder, inside in folders.items() if _evenness(inside[0].path) > EVEN]
    if len(even) == len(folders):
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


EVEN = 0.9  # the share of pixels that are as their left neighbor, from which on it is a mask


def _evenness(path: Path) -> float:
    try:
        with Image.open(path, formats=FORMATS) as image:
            pixels = np.asarray(image)
        return float((pixels[:, 1:] == pixels[:, :-1]).mean())
    except (OSError, ValueError):
        return 0


class _Images:
    """The images by their names."""

    def __init__(self, images: Sequence[Place]) -> None:
        self.by_name, self.by_folder = defaultdict(list), defaultdict(list)
        for image in images:
            for name in {image.path.stem, image.plain}:
                self.by_name[image.folders, name].append(image)
            self.by_folder[image.folders].append(image)

    def candidates(self, mask: Place) -> Iterator[tuple[Place, str]]:
        """The image of a mask, and what the mask's names say besides, the best guess first."""
        folders, name = mask.folders, mask.path.stem
        for same in dict.fromkeys((name, mask.plain)):
            yield from self._named(mask, folders, same, '')
        for depth in range(len(mask.parts), 0, -1):  # masks/NAME/1.png, NAME/masks/1.png
            of_image = mask.parts[depth - 1]
            above = tuple(filter(None, map(_without_roles, mask.parts[: depth - 1])))
            rest = ' '.join([*mask.parts[depth:], name])
            yield from self._named(mask, above, of_image, rest)
            yield from self._named(
                mask, (*above, *filter(None, [_without_roles(of_image)])), of_image, rest
            )
        for cut in [m.start() for m in re.finditer(r'[_\-. ]', name)][::-1]:  # NAME_cell_1.png
            yield from self._named(mask, folders, name[:cut], name[cut + 1 :])
        for depth in range(len(folders) - 1, -1, -1):  # masks/cell/NAME.png, masks/cell/NAME_1.png
            class_name = ' '.join(folders[depth:])
            yield from self._named(mask, folders[:depth], name, class_name)
            for cut in [m.start() for m in re.finditer(r'[_\-. ]', name)][::-1]:
                rest = f'{class_name} {name[cut + 1 :]}'
                yield from self._named(mask, folders[:depth], name[:cut], rest)
        if folders and len(alone := self.by_folder[folders]) == 1:  # NAME/any.png, NAME/mask_1.png
            yield alone[0], name

    def _named(
        self, mask: Place, folders: tuple[str, ...], name: str, rest: str
    ) -> Iterator[tuple[Place, str]]:
        found = self.by_name.get((folders, name), [])
        same_split = [image for image in found if image.split == mask.split] or found
        exact = [image for image in same_split if image.path.stem == name] or same_split
        if len(exact) > 1:
            raise UserError(
                f'The mask {mask.path} may belong to {exact[0].path} or {exact[1].path}: give '
                'every image a name of its own.'
            )
        yield from ((image, rest) for image in exact)
