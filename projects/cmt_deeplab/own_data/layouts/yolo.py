"""YOLO's text files of polygons: one line for each object, with its class and x, y as shares."""

import re
from collections.abc import Iterable
from pathlib import Path

from cmt_deeplab.errors import UserError

from ..annotated import Layout
from ..class_names import FILES, read_class_names
from ..files import Files
from ..shapes import Labeled, Shape, shapes_layout

POLYGON = re.compile(r'\s*\d+(\s+-?[\d.e-]+){6,}\s*')
EMPTY = 'Taken to show no object, as there is no text file for it'
NUMBERS_OF_BOX = 5  # the class and x, y, width, height


def find_yolo(files: Files) -> Layout | None:
    """The layout of text files with the names of images, or None if none holds a polygon.

    As for Ultralytics, an image without a text file, in a folder of images with them, shows no
    object.

    Raises:
        UserError: a line is neither polygon nor box, or the classes have no names.
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

    stems = {file.stem for file in rows}
    folders = {path.parent for path in files.images if path.stem in stems}
    empty = [p for p in files.images if p.parent in folders and p.stem not in stems]

    def read(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
        if file not in rows:
            return (), [Labeled([file.name], (), remark=EMPTY)]
        shapes = [_shape(line, names.of_values, file) for line in rows[file]]
        return names.of_values.values(), [Labeled([names_of[file.stem]], shapes)]

    return shapes_layout('the format of YOLO', files, [*rows, *empty], read=read, kind=True)


def _shape(line: str, names: dict[int, str], file: Path) -> Shape:
    try:
        number, *shares = map(float, line.split())
        name = names[int(number)]
        is_box = len(shares) == NUMBERS_OF_BOX - 1
        if not is_box and (len(shares) < 6 or len(shares) % 2):
            raise ValueError('it is no polygon')
    except (KeyError, ValueError) as error:
        raise UserError(
            f'{file} has the line {line[:40]!r}, which cannot be read ({error}): give the number '
            'of a class that data.yaml names, and x and y of at least three points from 0 to 1.'
        ) from None
    return Shape(name, [] if is_box else [shares], relative=True, sort='box')
