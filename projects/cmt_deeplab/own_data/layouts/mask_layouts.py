"""Images with masks in image files.

The objects of an image are numbered in one file, or have a file each. Their classes are the values
in another file, or stand in the names of the files, or there is only one class.
"""

import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from cmt_deeplab.errors import UserError

from ..annotated import AnnotatedImage, Layout, Segment, Truth
from ..class_names import OBJECT, VOID_NAMES, ClassNames, is_no_object, read_class_names
from ..files import Files, counted, named
from .mask_planes import FACTOR, MaskPlanes
from .mask_values import Planes, by_values, named_values, survey_of
from .pairing import CLASSES, INSTANCES, MASK, Mask, pair_up

VOID = VOID_NAMES[0]
NAME = re.compile(r'([^\W\d_]{2,})\d{0,4}')  # 'cell' and 'cell12', but not a hash


def find_masks(files: Files, meant: str | None = None) -> Layout | None:
    """The layout, or None if there are no masks.

    ``meant``, CLASSES or INSTANCES, is what a mask holds if its name does not tell; None finds this
    out from its values.

    Raises:
        UserError: no image has a mask, the names do not tell what a mask holds, or a mask cannot be
            used.
    """
    pairing = pair_up(files)
    if not pairing.masks and not pairing.masks_alone:
        return None
    if not pairing.masks:
        raise UserError(
            f'{files.root} holds masks ({named(pairing.masks_alone)}) and images '
            f'({named(pairing.images_alone)}), but no mask has the name of an image: call it like '
            'its image, in a folder masks beside the folder images.'
        )
    names = read_class_names(files)
    planes, of_values = _planes_of(pairing.masks, names, meant)
    roles = {mask.role for of_image in pairing.masks.values() for mask in of_image}
    said = CLASSES in (meant, *roles)
    planes, of_values, kinds, notes = _classes_of(planes, of_values, names, said)
    described = next(iter(planes.values())).described  # all are of one kind
    images = [
        AnnotatedImage(image, partial(_read, of_image, of_values), pairing.splits[image])
        for image, of_image in planes.items()
    ]
    for kind, partner, alone in (
        ('image', 'mask', pairing.images_alone),
        ('mask', 'image', pairing.masks_alone),
    ):
        if alone:
            which = counted(len(alone), kind)
            notes.append(f'Left out, as there is no {partner} for it: {which} ({named(alone)}).')
    return Layout(f'{counted(len(images), "image")} with {described}', images, kinds, notes)


def _planes_of(
    masks: dict[Path, list[Mask]], names: ClassNames | None, meant: str | None
) -> tuple[Planes, dict[int, str]]:
    """The masks of each image, and the classes by value that the names of files give.

    A single mask whose name does not tell what it holds counts as a map of classes until its values
    are known.
    """
    every = [mask for of_image in masks.values() for mask in of_image]
    apart = _one_for_each_object(masks)
    # A folder whose name does not tell holds what the other folder does not hold.
    if meant is None or len({mask.role for mask in every}) > 1:
        meant = INSTANCES if apart or CLASSES in {mask.role for mask in every} else CLASSES
    roles = {meant if mask.role == MASK else mask.role for mask in every}
    values, planes = {}, {}
    for image, of_image in masks.items():
        by_role = {role: [] for role in (CLASSES, INSTANCES)}
        for mask in of_image:
            by_role[meant if mask.role == MASK else mask.role].append(mask.path)
        for role, paths in by_role.items():
            many = apart and role == INSTANCES
            if len(paths) > 1 and not many:
                raise UserError(
                    f'The image {image} has two masks, {paths[0]} and {paths[1]}: call the folder '
                    'with numbers of objects "instances" and that with classes "semantic", or take '
                    'one out.'
                )
            if role in roles and not paths and not many:
                raise UserError(
                    f'The image {image} has {of_image[0].path} alone, but others have two masks, '
                    'one of objects and one of classes: add it, or take the image out.'
                )
        classes, objects = (next(iter(by_role[role]), None) for role in (CLASSES, INSTANCES))
        colors = names is not None and names.of_colors
        numbered = ()
        if apart:
            found = [(m.path, _class_named(m, names)) for m in of_image if m.path != classes]
            numbered = tuple((p, values.setdefault(n, len(values) + 1)) for p, n in found)
            objects = None
        planes[image] = MaskPlanes(objects, numbered, classes, colors)
    of_values = {} if CLASSES in roles else {value: name for name, value in values.items()}
    return planes, of_values


def _one_for_each_object(masks: dict[Path, list[Mask]]) -> bool:
    """Whether an image has several masks of one role, or one whose name tells its class.

    A part of the name that is not a class, such as the "L" of NAME_L.png, does not count.
    """
    named = {i: [m for m in masks[i] if m.role != CLASSES and m.rest] for i in masks}
    if any(len({m.role for m in of_image}) < len(of_image) for of_image in named.values()):
        return True
    for image, of_image in named.items():
        for mask in of_image:
            if any(map(NAME.fullmatch, mask.rest)):
                return len(survey_of({image: MaskPlanes(classes=mask.path)})[0]) <= 2
    return False


def _classes_of(
    planes: Planes, of_values: dict[int, str], names: ClassNames | None, said: bool
) -> tuple[Planes, dict[int, str], dict[str, bool | None], list[str]]:
    """The masks by their kind, the classes by value, which of them are things, and notes."""
    survey, notes = survey_of(planes) if next(iter(planes.values())).classes else [], []
    seen = {v: planes[image].classes for image, values in zip(planes, survey) for v in values}
    if survey and not next(iter(planes.values())).has_objects:
        planes = by_values(planes, survey, names, said)
        if next(iter(planes.values())).objects:
            notes = [
                'The values of the masks are taken for numbers of objects: give '
                '--layout class-masks if they are classes.'
            ]
    one = next(iter(planes.values()))
    if not one.classes or one.one_value:
        of_values = of_values or {1: _only_class(names)}
        if names is None and OBJECT in of_values.values():
            notes.append(
                f'Nothing names the class, so it is called {OBJECT!r}: write its name into '
                'classes.txt beside the images to change it.'
            )
        return planes, of_values, dict.fromkeys(of_values.values(), True), notes
    of_values, notes = named_values(seen, names)
    most = Counter()
    for values in survey:
        most |= Counter(values)
    kinds = {name: most[value] > 0 for value, name in of_values.items()}
    told = all(kind or is_no_object(name) for name, kind in kinds.items())
    if not one.has_objects or (one.colors and told):  # CVAT numbers stuff too
        kinds = dict.fromkeys(kinds)
    elif once := [name for v, name in of_values.items() if most[v] == 1 and not is_no_object(name)]:
        notes.append(
            f'No image has two objects of {", ".join(once)}: give --stuff with what is no thing.'
        )
    return planes, of_values, {**kinds, **(names.kinds if names else {})}, notes


def _class_named(mask: Mask, names: ClassNames | None) -> str:
    """The class that the name of an object's mask tells."""
    listed = names.of_values.values() if names else ()
    known = {name.lower(): name for name in listed if not is_no_object(name)}
    name = '_'.join(match[1] for match in map(NAME.fullmatch, mask.rest) if match)
    if name and known and name.lower() not in known:
        raise UserError(
            f'The name of {mask.path} has the class {name!r}, which is not in {names.file}: add it '
            'there, or remove that file.'
        )
    return known.get(name.lower()) or name or (*known.values(), OBJECT)[0]


def _only_class(names: ClassNames | None) -> str:
    """The class of all objects, if neither a map nor the names of files tell classes."""
    listed = [n for n in (names.of_values.values() if names else ()) if not is_no_object(n)]
    if len(listed) > 1:
        raise UserError(
            f'{names.file} names {len(listed)} classes, but the masks hold numbers of objects '
            'alone: add a PNG of classes for each image, in a folder "semantic" beside the other '
            'one, or leave one name.'
        )
    return (*listed, OBJECT)[0]


def _read(planes: MaskPlanes, of_values: dict[int, str], size: tuple[int, int]) -> Truth:
    keys, places = planes.keys(size)
    new_numbers, segments = np.zeros(len(keys), np.int32), []
    for k, key in enumerate(keys.tolist()):
        value, number = divmod(key, FACTOR)
        if value in of_values or number:  # an object on pixels without a class is void
            crowd = planes.has_objects and not number
            name = of_values.get(value, VOID)
            segments.append(Segment(name, is_crowd=crowd, scattered=not planes.has_objects))
            new_numbers[k] = len(segments)
    return Truth(new_numbers[places], segments)
