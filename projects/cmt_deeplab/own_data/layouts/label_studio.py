"""Label Studio's exports JSON and JSON-MIN, with polygons, brushes, rectangles and ellipses."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from cmt_deeplab.errors import UserError

from ..annotated import Layout, Region, Segment
from ..files import IMAGES, Files, counted, named
from ..json_files import interpreting, read_json
from ..polygons import ellipse, polygon_region, rectangle
from ..shapes import LabeledImage, Shape, Size, shapes_layout

UPLOAD = re.compile(r'^[0-9a-f]{8}-')  # before the name of a file that was uploaded
HALF = 128  # of the 255 of a pixel that the brush covers wholly


def find_label_studio(files: Files, jsons: list[Path]) -> Layout:
    """The layout of the exports of Label Studio below the root.

    Raises:
        UserError: an export is damaged, or an image is missing.
    """
    images, left_out, missing, several = [], Counter(), [], []
    for file in jsons:
        tasks = read_json(file)
        for k, task in enumerate(tasks if isinstance(tasks, list) else [tasks]):
            with interpreting(f'The task {k + 1} of {file}'):
                name = _image_name(task, file)
                path = files.find_image(name, file) or files.find_image(UPLOAD.sub('', name), file)
                if path is None:
                    missing.append((name, file))
                    continue
                entries = _entries(task, path, several)
                shapes, size = _shapes(entries, left_out)
                images.append(LabeledImage(path, file, shapes, size, files.split_of(path)))
    layout = shapes_layout('Label Studio', images, left_out=left_out, missing=missing)
    if several:
        which = counted(len(several), 'image')
        layout.notes.append(
            f'Of several people who annotated an image, the first one is taken: {which} '
            f'({named(several)}).'
        )
    return layout


def _shapes(entries: Iterator[dict], left_out: Counter) -> tuple[list[Shape], tuple]:
    """The shapes with a label and an area, and the size of the image that they state."""
    shapes, size = [], (None, None)
    for entry in entries:
        value = {**entry, **entry.get('value', {})}
        labels = next((v for key, v in value.items() if key.endswith('labels') and v), None)
        if labels and not {'rle', 'points', 'radiusX', 'width'}.isdisjoint(value):
            size = value.get('original_height'), value.get('original_width')
            shapes.append(Shape(str(labels[0]), partial(_region, value)))
        else:
            left_out[str(entry.get('type', 'keypoint'))] += 1
    return shapes, size


def _image_name(task: object, file: Path) -> str:
    """The path of the image of a task, without the address of a server."""
    fields = task.get('data', task)
    for value in fields.values():
        name = unquote(value).partition('?d=')[2] or unquote(value) if type(value) is str else ''
        if name.lower().endswith(IMAGES):
            return name.rpartition('/')[2]
    raise UserError(f'{file} has a task without the name of an image: export it again as JSON.')


def _entries(task: dict, path: Path, several: list[Path]) -> Iterator[dict]:
    """What was drawn in an image; in JSON-MIN the lists stand beside the name of the image."""
    if 'annotations' in task and 'data' in task:
        done = [a for a in task['annotations'] if not a.get('was_cancelled')]
        if len(done) > 1:
            several.append(path)
        yield from done[0]['result'] if done else ()
        return
    for value in task.values():
        if isinstance(value, list):
            yield from (entry for entry in value if isinstance(entry, dict))


def _region(value: dict, segment: Segment, size: Size, where: str) -> Region:
    if value.get('image_rotation'):
        raise UserError(f'{where} was drawn on a turned image: turn the image itself and export.')
    if 'rle' in value:
        pixels = decode_brush(value['rle'])
        if len(pixels) != 4 * size[0] * size[1]:
            raise UserError(f'{where} is a brush of another size than its image: export it again.')
        return Region(segment, pixels[3::4].reshape(size) >= HALF)
    height, width = size
    share = np.array([width, height]) / 100
    if 'points' in value:
        outline = (np.array(value['points'], float) * share).ravel().tolist()
    elif 'radiusX' in value:
        center, radii = (
            (value[x], value[y]) * share for x, y in (('x', 'y'), ('radiusX', 'radiusY'))
        )
        outline = ellipse(center, radii, value.get('rotation', 0))
    else:
        low = (value['x'], value['y']) * share
        high = low + (value['width'], value['height']) * share
        outline = rectangle(*low, *high, value.get('rotation', 0))
    return polygon_region(segment, [outline], size, where)


def decode_brush(code: Sequence[int]) -> np.ndarray:
    """The bytes R, G, B, A of all pixels, of the run lengths of a brush.

    The bits are those of the package rle-pack (github.com/thi-ng/umbrella): 32 of the number of
    words, 5 of the bits of a word, 4 times 4 of the bits of a length. Then come runs: 1 bit whether
    one word is repeated, 2 bits which length is used, the length, and the word or the words. All
    but the number is one less than what it means.
    """
    bits = np.unpackbits(np.array(code, np.uint8))
    text, place = (bits + ord('0')).tobytes().decode(), 0

    def read(length: int) -> int:
        nonlocal place
        place += length
        if place > len(text):
            raise ValueError('it ends early')
        return int(text[place - length : place], 2)

    number, word = read(32), read(5) + 1
    lengths = [read(4) + 1 for _ in range(4)]
    weights, parts, done = 1 << np.arange(word)[::-1], [], 0
    while done < number:
        repeated = read(1)
        count = read(lengths[read(2)]) + 1
        if repeated:
            parts.append(np.full(count, read(word), np.uint8))
        else:
            parts.append(
                (bits[place : place + count * word].reshape(count, word) @ weights).astype(np.uint8)
            )
            place += count * word
        done += count
    return np.concatenate(parts)[:number] if parts else np.zeros(0, np.uint8)
