"""COCO's JSON of instances: polygons and run lengths, as CVAT, Roboflow and many others export."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from cmt_deeplab.coco_format import check_same_size
from cmt_deeplab.errors import UserError

from ..annotated import AnnotatedImage, Layout, Region, Segment, Truth, painted
from ..files import Files, counted, named
from ..json_files import interpreting, read_json, required
from ..polygons import polygon_region
from ..shapes import refuse_missing


def find_coco_instances(files: Files, jsons: list[Path]) -> Layout:
    """The layout of all JSONs of instances below the root.

    The classes are those of all files, things all of them.

    Raises:
        UserError: a JSON cannot be read, or images that it names do not exist.
    """
    layout, missing, number = Layout('', [], {}), [], 0
    for file in jsons:
        with interpreting(str(file)):
            number += _add_file(layout, files, file, missing)
    refuse_missing(missing)
    if not number:
        raise UserError(
            f'{jsons[0]} has no masks ("segmentation"), and boxes do not suffice: export polygons '
            'or masks.'
        )
    images, each = counted(len(layout.images), 'image'), counted(number, 'instance')
    layout.found = f'{images} with {each} in the format of COCO ({named(jsons)})'
    return layout


def _add_file(layout: Layout, files: Files, file: Path, missing: list[tuple[str, Path]]) -> int:
    """Add the images of one JSON; the number of their annotations with a mask."""
    content = read_json(file)
    categories = required(content, 'categories', file)
    names = {required(c, 'id', file): str(required(c, 'name', file)) for c in categories}
    layout.classes.update(dict.fromkeys(names.values(), True))
    of_images, boxes, split = defaultdict(list), 0, files.split_of(file, by_name=True)
    for annotation in required(content, 'annotations', file):
        boxes += not annotation.get('segmentation')
        of_images[required(annotation, 'image_id', file)].append(annotation)
    number = sum(map(len, of_images.values())) - boxes
    for image in required(content, 'images', file):
        name = str(required(image, 'file_name', file))
        annotations = of_images.pop(required(image, 'id', file), ())
        if path := files.find_image(name, file):
            stated = image.get('height'), image.get('width')
            read = partial(_read, file, path, stated, annotations, names)
            layout.images.append(AnnotatedImage(path, read, split or files.split_of(path)))
        else:
            missing.append((name, file))
    if of_images:
        raise UserError(
            f'{file} has annotations of image {next(iter(of_images))}, which its list "images" '
            'lacks: add it there, or take them out.'
        )
    if boxes:
        which = counted(boxes, 'annotation')
        layout.notes.append(f'Left out, as it is a box without a mask: {which} of {file.name}.')
    return number


def _read(
    file: Path,
    path: Path,
    stated: tuple[int | None, int | None],
    annotations: Sequence[dict],
    names: dict[int, str],
    size: tuple[int, int],
) -> Truth:
    if None not in stated:
        check_same_size(
            str(path), size, f'its size in {file}', stated, 'take both from one release'
        )
    regions = []
    for annotation in annotations:
        where = f'{file}: the annotation {annotation.get("id")}'
        with interpreting(where):
            shape, category = annotation.get('segmentation'), annotation['category_id']
            if category not in names:
                raise UserError(
                    f'{where} has the "category_id" {category}, which is not in "categories": add '
                    'it there.'
                )
            segment = Segment(names[category], _is_crowd(annotation))
            if isinstance(shape, dict) and shape:
                regions.append(Region(segment, _mask_of_runs(shape, size, where)))
            elif shape:
                regions.append(polygon_region(segment, shape, size, where))
    return painted(regions, size)


def _is_crowd(annotation: dict) -> bool:
    """Whether a mask holds several objects.

    CVAT, whose annotations have "attributes", writes "iscrowd" 1 of every mask of run lengths
    (datumaro, plugins/data_formats/coco/exporter.py).
    """
    return bool(annotation.get('iscrowd')) and 'attributes' not in annotation


def _mask_of_runs(runs: dict, size: tuple[int, int], where: str) -> np.ndarray:
    remedy = 'take image and annotation from one release'
    check_same_size(f'The mask of {where}', runs['size'], 'its image', size, remedy)
    if isinstance(runs['counts'], list):
        if sum(runs['counts']) != size[0] * size[1] or min(runs['counts']) < 0:
            raise ValueError('the run lengths do not sum to the number of pixels')
        runs = coco_mask.frPyObjects(runs, *size)
    return coco_mask.decode(runs).astype(bool)
