"""COCO's JSON of instances: polygons and run lengths, as CVAT, Roboflow and many others export."""

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from cmt_deeplab.errors import UserError

from ..json_files import read_json, required
from ..polygons import mask_of_runs
from ..shapes import Labeled, Shape

EMPTY = 'Taken to show no object, as the annotation file that lists it has no annotations'


def read_coco_instances(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    content, of_images = read_json(file), defaultdict(list)
    categories = required(content, 'categories', file)
    names = {}
    for category in categories:
        number, name = required(category, 'id', file), str(required(category, 'name', file)).strip()
        if number in names:
            raise UserError(
                f'{file} has the categories {names[number]!r} and {name!r} with the id {number}: '
                'give each an id of its own.'
            )
        names[number] = name
    for annotation in required(content, 'annotations', file):
        category = required(annotation, 'category_id', file)
        if category not in names:
            raise UserError(
                f'{file}: the annotation {annotation.get("id")} has the "category_id" {category}, '
                'which is not in "categories": add it there.'
            )
        if not names[category]:
            raise UserError(f'{file} has the category {category} without a name: add it.')
        shape = _shape(annotation, names[category])
        of_images[required(annotation, 'image_id', file)].append(shape)
    images = [
        Labeled(
            [str(required(image, 'file_name', file))],
            of_images.pop(required(image, 'id', file), ()),
            (image.get('height'), image.get('width')),
            remark='' if content['annotations'] else EMPTY,
        )
        for image in required(content, 'images', file)
    ]
    if of_images:
        raise UserError(
            f'{file} has annotations of image {next(iter(of_images))}, which its list "images" '
            'lacks: add it there, or take them out.'
        )
    parents = {category.get('supercategory') for category in categories}
    used = {shape.name for image in images for shape in image.shapes}
    # Roboflow adds the name of the project as a category, and as that of which all others are.
    return [name for name in names.values() if name in used or name not in parents], images


def _shape(annotation: dict, name: str) -> Shape:
    """The shape of an annotation.

    CVAT, whose annotations have "attributes", writes "iscrowd" 1 for every mask of run lengths
    (datumaro, plugins/data_formats/coco/exporter.py), so there it means nothing.
    """
    drawn = annotation.get('segmentation')
    crowd = bool(annotation.get('iscrowd')) and 'attributes' not in annotation
    if isinstance(drawn, dict) and drawn:
        return Shape(name, mask=partial(mask_of_runs, drawn), is_crowd=crowd)
    return Shape(name, drawn or (), is_crowd=crowd, sort='box')
