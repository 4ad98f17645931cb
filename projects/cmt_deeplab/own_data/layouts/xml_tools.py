"""Annotations in XML: CVAT's "CVAT for images 1.1", and those of Aperio ImageScope, as in MoNuSeg.

docs.cvat.ai describes the fields of CVAT under XML annotation format.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import IMAGES

from ..annotated import Layout
from ..class_names import OBJECT
from ..files import Files, split_named
from ..polygons import Placed, Size, ellipse, rectangle
from ..shapes import Labeled, Read, Shape, shapes_layout

NO_SHAPES = 'tag', 'attribute'
VIDEO = 'track'


def find_xml(tool: str, root: str, read: Read, files: Files) -> Layout | None:
    """The layout of a tool's XMLs, whose outermost element is ``root``, or None without such files.

    Raises:
        UserError: an XML is damaged or describes videos.
    """
    sources = [file for file in files.with_suffix('.xml') if _tag(file) == root]
    return shapes_layout(tool, files, sources, read=read) if sources else None


def _tag(file: Path) -> str:
    with open(file, 'rb') as opened, _parsing(file):
        return next(ElementTree.iterparse(opened, ['start']))[1].tag


@contextmanager
def _parsing(file: Path) -> Iterator[None]:
    try:
        yield
    except (ElementTree.ParseError, StopIteration) as error:
        raise UserError(f'{file} cannot be read as XML ({error}): export it again.') from None


def read_cvat(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    with _parsing(file):
        root = ElementTree.parse(file)
    if root.find(VIDEO) is not None:
        raise UserError(
            f'{file} is an export of CVAT for video: export the task as "CVAT for images 1.1".'
        )
    images = [
        Labeled(
            [PurePosixPath(image.get('subset', ''), image.get('name', '')).as_posix()],
            [_cvat_shape(element) for element in image if element.tag not in NO_SHAPES],
            tuple(int(image.get(side, 0)) or None for side in ('height', 'width')),
            split_named(image.get('subset', '')),
        )
        for image in root.iterfind('image')
    ]
    return [label.findtext('name') for label in root.iterfind('meta//labels/label')], images


def _cvat_shape(element: ElementTree.Element) -> Shape:
    given, sort = element.attrib, element.tag
    outlines, turn = [], float(given.get('rotation', 0))
    if sort == 'polygon':
        outlines = [_numbers(given['points'].replace(';', ','))]
    elif sort == 'ellipse':
        cx, cy, *radii = (float(given[key]) for key in ('cx', 'cy', 'rx', 'ry'))
        outlines = [ellipse((cx, cy), radii, turn)]
    elif sort == 'box':
        left, top, right, bottom = (float(given[key]) for key in ('xtl', 'ytl', 'xbr', 'ybr'))
        center = (left + right) / 2, (top + bottom) / 2
        outlines = [rectangle(left, top, right, bottom, turn, around=center)]
    return Shape(
        given.get('label', ''),
        outlines,
        mask=partial(_cvat_mask, given) if sort == 'mask' else None,
        group=int(given.get('group_id') or 0) or None,
        level=int(given.get('z_order') or 0),
        sort=sort,
    )


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(',')]


def _cvat_mask(given: dict[str, str], size: Size) -> Placed:
    """A mask in a box, from run lengths row by row; the first run is outside of the mask."""
    top, left, *shape = (int(given[key]) for key in ('top', 'left', 'height', 'width'))
    runs = np.array(_numbers(given['rle']), int)
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(shape), (top, left)


def read_imagescope(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    """The regions; each "Annotation" has one class, which its attribute "Name" may tell."""
    with _parsing(file):
        layers = ElementTree.parse(file).iterfind('Annotation')
    shapes = [
        Shape(
            layer.get('Name') or OBJECT,
            [[float(v.get(key)) for v in region.iter('Vertex') for key in 'XY']],
        )
        for layer in layers
        for region in layer.iter('Region')
    ]
    return (), [Labeled([file.stem + suffix for suffix in IMAGES], shapes)]
