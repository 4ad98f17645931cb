"""CVAT's "CVAT for images 1.1": one XML with polygons, masks, boxes and ellipses.

What the fields mean is said at docs.cvat.ai, under XML annotation format.
"""

from collections import Counter
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from cmt_deeplab.errors import UserError

from ..annotated import Layout, Region, Segment
from ..files import Files, split_named
from ..polygons import ellipse, polygon_region, rectangle
from ..shapes import LabeledImage, Shape, Size, shapes_layout

SHAPES = 'polygon', 'mask', 'box', 'ellipse'
OTHERS = 'polyline', 'points', 'cuboid', 'skeleton'  # without an area
VIDEO = 'track'


def find_cvat(files: Files) -> Layout | None:
    """The layout of the XMLs of CVAT below the root, or None where there is none.

    Raises:
        UserError: an XML is damaged or is one for videos, or an image is missing.
    """
    images, left_out, missing, classes = [], Counter(), [], {}
    for file in files.with_suffix('.xml'):
        root = _parse(file)
        if root.tag != 'annotations':
            continue
        if root.find(VIDEO) is not None:
            raise UserError(
                f'{file} is an export of CVAT for video: export the task as "CVAT for images 1.1".'
            )
        labels = root.iterfind('meta//labels/label')
        classes.update(dict.fromkeys(label.findtext('name') for label in labels))
        for image in root.iterfind('image'):
            path = files.find_image(image.get('name', ''), file)
            if path is None:
                missing.append((image.get('name'), file))
                continue
            shapes = [_shape(element) for element in image if element.tag in SHAPES]
            left_out.update(element.tag for element in image if element.tag in OTHERS)
            size = tuple(int(image.get(side, 0)) or None for side in ('height', 'width'))
            split = split_named(image.get('subset', '')) or files.split_of(path)
            images.append(LabeledImage(path, file, shapes, size, split))
    if not images and not missing:
        return None
    return shapes_layout('CVAT', images, left_out=left_out, missing=missing, classes=[*classes])


def _parse(file: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f'{file} cannot be read as XML ({error}): export it again.') from None


def _shape(element: ElementTree.Element) -> Shape:
    group = int(element.get('group_id') or 0) or None
    level = int(element.get('z_order') or 0)
    region = partial(_region, element.tag, dict(element.attrib), level)
    return Shape(element.get('label', ''), region, group, level)


def _region(
    tag: str, given: dict[str, str], level: int, segment: Segment, size: Size, where: str
) -> Region:
    if tag == 'mask':  # row by row in a box, beginning with the pixels outside of the mask
        top, left, *shape = (int(given[key]) for key in ('top', 'left', 'height', 'width'))
        runs = np.array(given['rle'].split(','), int)
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape)
        return Region(segment, inside, (top, left), level)
    number = {key: float(value) for key, value in given.items() if key in NUMBERS}
    turn = number.get('rotation', 0)
    if tag == 'polygon':
        outline = [float(v) for point in given['points'].split(';') for v in point.split(',')]
    elif tag == 'ellipse':
        center, radii = (number['cx'], number['cy']), (number['rx'], number['ry'])
        outline = ellipse(center, radii, turn)
    else:
        left, top, right, bottom = (number[key] for key in ('xtl', 'ytl', 'xbr', 'ybr'))
        center = (left + right) / 2, (top + bottom) / 2
        outline = rectangle(left, top, right, bottom, turn, around=center)
    return polygon_region(segment, [outline], size, where, level=level)


NUMBERS = 'rotation', 'cx', 'cy', 'rx', 'ry', 'xtl', 'ytl', 'xbr', 'ybr'
