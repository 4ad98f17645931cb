"""Finding out whether the values in masks mean classes or objects."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import check_image_file

from ..class_names import VOID_NAMES, ClassNames
from .mask_planes import FACTOR, MaskPlanes

VOID_VALUE = 255  # of a map of classes, unless it has a name
SAMPLE = 20  # images that are searched for values in several places
# Values are thought to be classes only with so many images, of which such a share has all the
# values, or has gaps between them.
LEAST_IMAGES, SAME, GAPS = 5, 0.9, 0.2
MOST_CLASSES = 30  # more values than that are not thought to be classes
Planes = dict[Path, MaskPlanes]  # by image
Survey = list[dict[int, int]]  # for each image, the number of numbered objects by value of class


def survey_of(planes: Planes) -> Survey:
    def values_of(image: Path, of_image: MaskPlanes) -> dict[int, bool]:
        size = check_image_file(str(image)).size_read(turning=True)
        keys = of_image.keys(size)[0].tolist()
        objects = Counter()
        for value, number in (divmod(key, FACTOR) for key in keys):
            objects[value] += number > 0
        return dict(objects)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(values_of, *zip(*planes.items())))


def by_values(planes: Planes, survey: Survey, names: ClassNames | None, said: bool) -> Planes:
    """Find out what the single masks of images hold.

    They hold classes if their names have ``said`` so, or if a file names the values; otherwise a
    mask of one value, or numbers of objects.
    """
    seen = {value for values in survey for value in values} - {0}
    listed = {*names.shifted_to(seen)} if names and len(names.of_values) > 1 else set()
    if seen != {VOID_VALUE} - listed and (said or (listed and seen - {VOID_VALUE} <= listed)):
        return planes
    if all(len({*values} - {0}) < 2 for values in survey):
        return {image: replace(p, one_value=True) for image, p in planes.items()}
    _refuse_classes(planes, [{*values} - {0} for values in survey], seen)
    return {image: MaskPlanes(objects=p.classes) for image, p in planes.items()}


def _refuse_classes(planes: Planes, of_images: list[set[int]], seen: set[int]) -> None:
    """Refuse values that are probably not numbers of objects.

    That is, most values lie in several places of an image; or there are few values, and most images
    have all of them, or most of them with gaps (an image has 1 and 3).

    Raises:
        UserError: the user has to choose.
    """
    scattered = [
        found
        for image, of_image in [*planes.items()][:SAMPLE]
        for found in of_image.scattered(check_image_file(str(image)).size_read(turning=True))
    ]
    same, gaps, shares = np.mean(
        [
            (values == seen, values != {*range(1, len(values) + 1)}, len(values) / len(seen))
            for values in of_images
        ],
        axis=0,
    )
    if np.mean(scattered) > 0.5:
        why = 'a value lies in several places of an image'
    elif (
        LEAST_IMAGES <= len(of_images)
        and len(seen) <= MOST_CLASSES
        and (same >= SAME or (gaps >= GAPS and shares > 0.5))
    ):
        why = 'most images have the same ones'
    else:
        return
    values = ', '.join(map(str, sorted(seen)[:5])) + ', ...' * (len(seen) > 5)
    raise UserError(
        f'{next(iter(planes.values())).classes} and others hold the values {values}, and {why}: '
        'give --layout class-masks if they are classes (lines such as "1: cell" in classes.txt '
        'beside the images name them), or --layout instance-masks if they number objects; masks '
        'that were blurred or resized have to be written again without mixing values.'
    )


def named_values(
    seen: dict[int, Path], names: ClassNames | None
) -> tuple[dict[int, str], list[str]]:
    """The name of each value in the maps of classes, and a note if no file names them.

    ``seen`` has for each value a mask that holds it.

    Raises:
        UserError: a value has no name.
    """
    values, notes = {*seen} - {0, VOID_VALUE}, []
    if names is None:
        of_values = {value: f'class_{value}' for value in sorted(values)}
        notes = [
            f'Nothing names the {len(of_values)} classes, so they are called by their values: '
            'write lines such as "1: cell" into classes.txt beside the images.'
        ]
    else:
        of_values = names.shifted_to(seen)
        if unnamed := sorted(values - {*of_values}):
            color = ' (the color R + 256 G + 65536 B)' * names.of_colors
            raise UserError(
                f'{seen[unnamed[0]]} has the value {unnamed[0]}{color}, which is no class in '
                f'{names.file}: add a line for it there, or correct the mask.'
            )
    return {VOID_VALUE: VOID_NAMES[0], **of_values}, notes
