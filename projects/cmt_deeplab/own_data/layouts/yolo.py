"""YOLO's text files of polygons: one line for each object, with its class and x, y as shares."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from cmt_deeplab.errors import UserError

from ..annotated import Layout
from ..class_names import FILES, read_class_names
from ..files import Files, same_at_the_end
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
    images = _images_of_texts(files)
    rows = {
        file: [line for line in file.read_text('utf-8-sig', 'replace').splitlines() if line.strip()]
        for file in images
    }
    if not any(POLYGON.fullmatch(line) for lines in rows.values() for line in lines):
        return None
    names = read_class_names(files)
    if names is None:
        raise UserError(f'{files.root} has no data.yaml with "names" of the classes: add it.')
    labeled = {path for paths in images.values() for path in paths}
    folders = {path.parent for path in labeled}
    empty = [path for path in files.images if path.parent in folders and path not in labeled]

    def read(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
        if file not in rows:
            return (), [Labeled([str(file)], (), remark=EMPTY)]
        shapes = [_shape(line, names.of_values, file) for line in rows[file]]
        return names.of_values.values(), [Labeled([str(path)], shapes) for path in images[file]]

    return shapes_layout('the format of YOLO', files, [*rows, *empty], read=read, kind=True)


def _images_of_texts(files: Files) -> dict[Path, list[Path]]:
    """The images of each text file.

    As for Ultralytics, they lie in a folder ``images`` where it lies in one called ``labels``; or
    beside it. A text file of another place belongs to the image of its name that is left, of which
    its last folders and its split are not those of another one.

    Raises:
        UserError: two images fit equally well.
    """
    texts = [file for file in files.with_suffix('.txt') if file.stem not in FILES]
    of_texts = {file: [] for file in texts}
    left = defaultdict(list)
    for path in files.images:
        beside = path.with_suffix('.txt')
        head, found, tail = beside.as_posix().rpartition('/images/')
        places = Path(f'{head}/labels/{tail}') if found else beside, beside
        place = next((place for place in places if place in of_texts), None)
        (left[path.stem] if place is None else of_texts[place]).append(path)
    for file in texts:
        if not of_texts[file]:
            split = files.split_of(file)
            fit = defaultdict(list, {-1: []})
            for path in left[file.stem]:
                if split is None or files.split_of(path) in (split, None):
                    fit[same_at_the_end(path.parts[:-1], file.parts[:-1])].append(path)
            of_texts[file] = fit[max(fit)]
            if len(fit[max(fit)]) > 1:
                raise UserError(
                    f'{file} may be of {" or of ".join(map(str, fit[max(fit)][:2]))}: put text '
                    'files beside their images, or into a folder labels beside a folder images.'
                )
    return {file: paths for file, paths in of_texts.items() if paths}


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
