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
from ..files import Files, named
from ..json_files import read_json, required
from ..polygons import polygon_region
from ..shapes import refuse_missing


def find_coco_instances(files: Files, jsons: list[Path]) -> Layout:
    """The layout of all JSONs of instances below the root.

    The classes are those of all files, things all of them.

    Raises:
        UserError: a JSON cannot be read, or images that it names do not exist.
    """
    images, classes, notes, missing, number = [], {}, [], [], 0
    for file in jsons:
        content = read_json(file)
        names = {
            required(c, 'id', file): str(required(c, 'name', file))
            for c in required(content, 'categories', file)
        }
        classes.update(dict.fromkeys(names.values(), True))
        of_images = defaultdict(list)
        for annotation in required(content, 'annotations', file):
            of_images[required(annotation, 'image_id', file)].append(annotation)
        boxes = [a for each in of_images.values() for a in each if not a.get('segmentation')]
        if boxes:
            notes.append(
                f'{len(boxes)} annotations of {file.name} are boxes without a mask and left out.'
            )
        for image in required(content, 'images', file):
            name = str(required(image, 'file_name', file))
            path = files.find_image(name, file)
            if path is None:
                missing.append((name, file))
                continue
            annotations = [a for a in of_images.pop(image['id'], ()) if a.get('segmentation')]
            number += len(annotations)
            stated = image.get('height'), image.get('width')
            read = partial(_read, file, path, stated, annotations, names)
            images.append(AnnotatedImage(path, read, files.split_of(file, by_name=True)))
        if of_images:
            raise UserError(
                f'{file} has annotations of image {next(iter(of_images))}, which its list "images" '
                'lacks: add it there, or take them out.'
            )
    refuse_missing(missing)
    found = f'{len(images)} images with {number} instances in {named(jsons)}'
    return Layout(found, images, classes, notes)


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
        name = names.get(annotation.get('category_id'))
        if name is None:
            raise UserError(
                f'{where} has the "category_id" {annotation.get("category_id")}, which is not in '
                '"categories": add it there.'
            )
        segment = Segment(name, bool(annotation.get('iscrowd', 0)))
        segmentation = annotation['segmentation']
        if isinstance(segmentation, dict):
            regions.append(Region(segment, _mask_of_runs(segmentation, size, where)))
        else:
            regions.append(polygon_region(segment, segmentation, size, where))
    return painted(regions, size)


def _mask_of_runs(runs: dict, size: tuple[int, int], where: str) -> np.ndarray:
    counts = runs.get('counts')
    if tuple(runs.get('size') or ()) != tuple(size) or not isinstance(counts, str | list):
        raise UserError(
            f'{where} has run lengths of the size {runs.get("size")}, but its image is {size[0]} '
            f'high and {size[1]} wide: take image and annotation from one release.'
        )
    try:
        if isinstance(counts, list):
            if sum(counts) != size[0] * size[1] or min(counts) < 0:
                raise ValueError('their sum is not the number of pixels')
            runs = coco_mask.frPyObjects(runs, *size)
        return coco_mask.decode(runs).astype(bool)
    except (TypeError, ValueError) as error:
        raise UserError(
            f'{where} has run lengths that are damaged ({error}): write them again.'
        ) from None
