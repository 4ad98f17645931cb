"""Images with masks in image files: PNGs of ids or classes for each image, or one for each object.

Of the one or two PNGs of an image, one may hold the number of an object in each pixel and one the
value of its class.
"""

import re
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import check_image_file
from cmt_deeplab.planes import ranked, runs

from ..annotated import AnnotatedImage, Layout, Region, Segment, Truth, painted
from ..class_names import BACKGROUND_NAMES, VOID_NAMES, ClassNames, is_no_object, read_class_names
from ..files import Files, named
from .id_masks import read_mask
from .pairing import CLASSES, INSTANCES, MASK, Mask, Pairing, pair_up

OBJECT = 'object'  # the class where nothing names one
VOID = VOID_NAMES[0]
VOID_VALUE = 255  # of a map of classes, unless it has a name
FACTOR = 1 << 32  # of the class beside the number of the object
NAME = re.compile(r'([^\W\d_]{2,})\d{0,4}')  # 'cell' and 'cell12', but not a hash


def find_masks(files: Files) -> Layout | None:
    """The layout, or None where there are no masks.

    Raises:
        UserError: no image has a mask, the names leave open which is which, or a mask is unfit.
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
    _refuse_twins(pairing)
    names = read_class_names(files)
    per_object = any(mask.rest for masks in pairing.masks.values() for mask in masks)
    layout = (_per_object if per_object else _per_image)(pairing, names)
    for kind, partner, alone in (
        ('images', 'mask', pairing.images_alone),
        ('masks', 'image', pairing.masks_alone),
    ):
        if alone:
            layout.notes.append(
                f'{len(alone)} {kind} without a {partner} are left out ({named(alone)}).'
            )
    return layout


def _refuse_twins(pairing: Pairing) -> None:
    for image, masks in pairing.masks.items():
        alike = {}
        for mask in masks:
            twin = alike.setdefault((mask.role, mask.rest), mask)
            if twin is not mask and not mask.rest:
                raise UserError(
                    f'The image {image} has two masks, {twin.path} and {mask.path}: call the '
                    'folder with the numbers of objects "instances" and that with classes '
                    '"semantic", or take one out.'
                )


def _layout(
    pairing: Pairing, found: str, classes: dict[str, bool | None], read: Callable[..., Truth]
) -> Layout:
    images = [
        AnnotatedImage(path, partial(read, masks), pairing.splits[path])
        for path, masks in pairing.masks.items()
    ]
    return Layout(f'{len(images)} images with {found}', images, classes)


# One PNG for each object ------------------------------------------------------------------------


def _per_object(pairing: Pairing, names: ClassNames | None) -> Layout:
    known = {name.lower(): name for name in (names.of_values.values() if names else ())}
    only = next(iter(known.values())) if len(known) == 1 else OBJECT

    def class_of(mask: Mask) -> str:
        name = '_'.join(match[1] for match in map(NAME.fullmatch, mask.rest) if match)
        return known.get(name.lower(), name or only)

    def read(masks: Sequence[Mask], size: tuple[int, int]) -> Truth:
        regions = [Region(Segment(class_of(m)), read_mask(m.path, size) > 0) for m in masks]
        return painted(regions, size)

    masks = [mask for of_image in pairing.masks.values() for mask in of_image]
    classes = {class_of(mask): True for mask in masks}
    for name in classes:
        if known and name not in (*known.values(), OBJECT):
            raise UserError(
                f'The masks name the class {name!r}, which {names.file} does not: add it there, or '
                'remove the file, so that the names of the masks are the classes.'
            )
    return _layout(pairing, f'{len(masks)} masks, one PNG for each object', classes, read)


# One PNG for each image, or two -----------------------------------------------------------------

CONNECTED = 'each connected region of a thing taken for one object'
FOUND = {  # by the roles of the masks of an image; MASK has one value besides 0
    (INSTANCES,): 'instance masks, one PNG for each image',
    (CLASSES, INSTANCES): 'instance masks and a map of classes, one PNG of each for each image',
    (CLASSES,): f'a map of classes for each image, {CONNECTED}',
    (MASK,): f'a mask of one value for each image, {CONNECTED}',
}


def _per_image(pairing: Pairing, names: ClassNames | None) -> Layout:
    paths, roles = _paths_by_role(pairing)
    colors = names is not None and names.of_colors
    survey = _survey(paths, colors)
    seen = {
        value: of_image for of_image, classes in zip(paths.values(), survey) for value in classes
    }
    if INSTANCES not in roles:
        roles = (_role_by_values(roles[0], survey, seen, names),)
        paths = {image: dict(zip(roles, of_image.values())) for image, of_image in paths.items()}
    if CLASSES in roles:
        of_values, notes = _named_values(seen, names)
        numbered = {v for classes in survey for v, has_numbers in classes.items() if has_numbers}
        kinds = {name: value in numbered for value, name in of_values.items()}
        told = [kind for name, kind in kinds.items() if name.lower() not in BACKGROUND_NAMES]
        if INSTANCES not in roles or (colors and all(told)):  # CVAT numbers stuff too
            kinds = dict.fromkeys(kinds)
        kinds.update(names.kinds if names else ())
    else:
        name, notes = _only_class(names)
        of_values, kinds = {1: name}, {name: True}
    images = [
        AnnotatedImage(image, partial(_read, of_image, of_values, colors), pairing.splits[image])
        for image, of_image in paths.items()
    ]
    return Layout(f'{len(images)} images with {FOUND[roles]}', images, kinds, notes)


def _paths_by_role(pairing: Pairing) -> tuple[dict[Path, dict[str, Path]], tuple[str, ...]]:
    """The masks of each image by their roles, and the roles, which are those of every image."""
    roles = {mask.role for masks in pairing.masks.values() for mask in masks}
    # A folder whose name leaves it open is what the other one is not.
    meant = CLASSES if INSTANCES in roles else INSTANCES if CLASSES in roles else MASK
    paths = {
        image: {meant if mask.role == MASK else mask.role: mask.path for mask in masks}
        for image, masks in pairing.masks.items()
    }
    roles = tuple(sorted({role for of_image in paths.values() for role in of_image}))
    for image, of_image in paths.items():
        if len(of_image) < len(roles):
            raise UserError(
                f'The image {image} has {next(iter(of_image.values()))} alone, but others have two '
                'masks, one of objects and one of classes: add it, or take the image out.'
            )
    return paths, roles


def _numbers(
    paths: dict[str, Path], colors: bool, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """What stands in the masks of an image: the distinct keys, and the place (H, W) of each pixel.

    A key is FACTOR times the value of the class, and the number of the object.
    """
    if INSTANCES in paths:
        keys = read_mask(paths[INSTANCES], size)
        if CLASSES not in paths:
            keys = keys + FACTOR * (keys > 0)
    else:
        keys = 0
    if CLASSES in paths:
        keys = keys + FACTOR * read_mask(paths[CLASSES], size, as_colors=colors)
    if MASK in paths:
        keys = FACTOR * (read_mask(paths[MASK], size) > 0)
    values, lengths = runs(keys)
    distinct, places = ranked(values)
    return distinct, np.repeat(places, lengths).reshape(size)


def _survey(paths: dict[Path, dict[str, Path]], colors: bool) -> list[dict[int, bool]]:
    """The values of classes in the masks of each image, and whether their objects have numbers."""

    def values_of(image: Path, of_image: dict[str, Path]) -> dict[int, bool]:
        size = check_image_file(str(image)).size_read(turning=True)
        of_image = {CLASSES if role == MASK else role: path for role, path in of_image.items()}
        keys = _numbers(of_image, colors, size)[0].tolist()
        return {value: bool(number) for value, number in sorted(divmod(k, FACTOR) for k in keys)}

    with ThreadPoolExecutor() as pool:
        return list(pool.map(values_of, *zip(*paths.items())))


def _role_by_values(
    role: str, survey: Sequence[dict[int, bool]], seen: Collection[int], names: ClassNames | None
) -> str:
    """What the masks hold, where no name tells: classes if a file names their values."""
    listed = names.shifted_to(seen) if names and len(names.of_values) > 1 else ()
    others = {*seen} - {0}
    if others == {VOID_VALUE} and VOID_VALUE not in listed:
        return MASK
    if role == CLASSES or others - {VOID_VALUE} <= {*listed}:
        return CLASSES
    return MASK if all(len({*classes} - {0}) < 2 for classes in survey) else INSTANCES


def _only_class(names: ClassNames | None) -> tuple[str, list[str]]:
    """The class of all objects, and the sentence on a name that nobody gave."""
    listed = [n for n in (names.of_values.values() if names else ()) if not is_no_object(n)]
    if len(listed) == 1:
        return listed[0], []
    if listed:
        raise UserError(
            f'{names.file} names {len(listed)} classes, but the masks hold numbers of objects '
            'alone: add a PNG of classes for each image, in a folder "semantic" beside the other '
            'one, or leave one name.'
        )
    return OBJECT, [
        f'Nothing names the class, so it is called {OBJECT!r}: write its name into '
        'classes.txt beside the images to change it.'
    ]


def _named_values(
    seen: dict[int, dict[str, Path]], names: ClassNames | None
) -> tuple[dict[int, str], list[str]]:
    """The name of each value in the maps of classes, and the sentence on names that nobody gave.

    ``seen`` has masks in which the value stands.
    """
    values = {*seen} - {0, VOID_VALUE}
    if names is None:
        of_values = {value: f'class_{value}' for value in sorted(values)}
        notes = [
            f'Nothing names the {len(of_values)} classes, so they are called by their values: '
            'write lines such as "1: cell" into classes.txt beside the images.'
        ]
    else:
        of_values, notes = names.shifted_to(seen), []
        if unnamed := sorted(values - {*of_values}):
            color = ' (the color R + 256 G + 65536 B)' * names.of_colors
            raise UserError(
                f'{seen[unnamed[0]][CLASSES]} has the value {unnamed[0]}{color}, which is no class '
                f'in {names.file}: add a line for it there, or correct the mask.'
            )
    return {VOID_VALUE: VOID, **of_values}, notes


def _read(
    paths: dict[str, Path], of_values: dict[int, str], colors: bool, size: tuple[int, int]
) -> Truth:
    keys, places = _numbers(paths, colors, size)
    new_numbers, segments = np.zeros(len(keys), np.int32), []
    for k, key in enumerate(keys.tolist()):
        value, number = divmod(key, FACTOR)
        if value in of_values or number:  # an object on pixels without a class is void
            crowd = INSTANCES in paths and not number
            segments.append(Segment(of_values.get(value, VOID), crowd, INSTANCES not in paths))
            new_numbers[k] = len(segments)
    return Truth(new_numbers[places], segments)
