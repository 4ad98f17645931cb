"""YOLO's text files of polygons: a line for each object, of the class and x, y as shares."""

import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from cmt_deeplab.errors import UserError

from ..annotated import Layout, Region, Segment
from ..class_names import FILES, read_class_names
from ..files import Files, counted, named
from ..polygons import polygon_region
from ..shapes import LabeledImage, Shape, Size, shapes_layout

POLYGON = re.compile(r'\s*\d+(\s+-?[\d.e-]+){6,}\s*')

NUMBERS_OF_BOX = 5  # the class and x, y, width, height


def find_yolo(files: Files) -> Layout | None:
    """The layout of text files that are named as images, or None where there is none.

    Raises:
        UserError: a line is no polygon, or the classes have no names.
    """
    names_of = {path.stem: path.name for path in files.images}
    rows = {
        file: [line for line in file.read_text('utf-8-sig', 'replace').splitlines() if line.strip()]
        for file in files.with_suffix('.txt')
        if file.stem in names_of and file.stem not in FILES
    }
    if not any(POLYGON.fullmatch(line) for lines in rows.values() for line in lines):
        return None
    names = read_class_names(files)
    if names is None:
        raise UserError(f'{files.root} has no data.yaml with "names" of the classes: add it.')
    images, boxes = [], 0
    for file, lines in rows.items():
        path = files.find_image(names_of[file.stem], file)
        drawn = [line for line in lines if len(line.split()) != NUMBERS_OF_BOX]
        boxes += len(lines) - len(drawn)
        shapes = [_shape(line, names.of_values, file) for line in drawn]
        images.append(LabeledImage(path, file, shapes, split=files.split_of(file)))
    layout = shapes_layout(
        'the format of YOLO', images, left_out=Counter(), classes=[*names.of_values.values()],
        kind=True,
    )  # fmt: skip
    if boxes:
        layout.notes.append(f'Left out, as it is a box without a mask: {counted(boxes, "line")}.')
    used = {image.path for image in images}
    if alone := [path for path in files.images if path not in used]:
        which = counted(len(alone), 'image')
        layout.notes.append(f'Left out, as there is no text file for it: {which} ({named(alone)}).')
    return layout


def _shape(line: str, names: dict[int, str], file: Path) -> Shape:
    try:
        number, *shares = map(float, line.split())
        name = names[int(number)]
        if len(shares) < 6 or len(shares) % 2:
            raise ValueError('it is no polygon')
    except (KeyError, ValueError) as error:
        raise UserError(
            f'{file} has the line {line[:40]!r}, which cannot be read ({error}): give the number '
            'of a class that data.yaml names, and x and y of at least three points from 0 to 1.'
        ) from None
    return Shape(name, partial(_region, shares))


def _region(shares: list[float], segment: Segment, size: Size, where: str) -> Region:
    outline = (np.reshape(shares, (-1, 2)) * size[::-1]).ravel()
    return polygon_region(segment, [outline], size, where)
