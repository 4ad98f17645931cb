"""Label Studio's exports JSON and JSON-MIN, with polygons, brushes, rectangles and ellipses."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import IMAGES

from ..json_files import interpreting, read_json
from ..polygons import Placed, Size, ellipse, rectangle
from ..shapes import Labeled, Shape

UPLOAD = re.compile(r'^[0-9a-f]{8}-')  # before the name of a file that was uploaded
SEVERAL = 'Of several people who annotated an image, the first one is taken'
HALF = 128  # a pixel that the brush covers wholly has 255


def read_label_studio(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    tasks, images = read_json(file), []
    for k, task in enumerate(tasks if isinstance(tasks, list) else [tasks]):
        with interpreting(f'The task {k + 1} of {file}'):
            name, shapes, size = _image_name(task, file), [], (None, None)
            entries, remark = _entries(task)
            for entry in entries:
                value = {**entry, **entry.get('value', {})}
                shapes.append(_shape(value, f'{file}: {name}'))
                if shapes[-1].has_area:
                    size = value['original_height'], value['original_width']
            names = [name, UPLOAD.sub('', name)]
            images.append(Labeled(names, shapes, size, remark=remark))
    return (), images


def _image_name(task: object, file: Path) -> str:
    """The path of the image of a task, without the address of a server."""
    fields = task.get('data', task)
    for value in fields.values():
        if type(value) is not str:
            continue
        path, _, query = value.partition('?')  # of a server: '?d=PATH', or a signature
        name = unquote(query.removeprefix('d=') if query.startswith('d=') else path)
        if name.lower().endswith(IMAGES):
            return name.rpartition('/')[2]
    raise UserError(
        f'{file} has a task whose data ({fields!r:.80}) name no image: write the name of its file '
        'there.'
    )


def _entries(task: dict) -> tuple[list[dict], str]:
    """The drawn shapes of an image; in JSON-MIN their lists stand beside the image's name."""
    if 'annotations' in task and 'data' in task:
        done = [a['result'] for a in task['annotations'] if not a.get('was_cancelled')]
        return (done or [[]])[0], SEVERAL * (len(done) > 1)
    lists = [value for value in task.values() if isinstance(value, list)]
    return [entry for value in lists for entry in value if isinstance(entry, dict)], ''


def _shape(value: dict, where: str) -> Shape:
    """A shape, whose coordinates are given in percent of the width and the height of the image."""
    labels = next((v for key, v in value.items() if key.endswith('labels') and v), None)
    sort, outlines = str(value.get('type', 'keypoint')), []
    if labels is None:
        return Shape('', sort=sort)
    if value.get('image_rotation'):
        raise UserError(f'{where} was drawn on a turned image: turn the image itself and export.')
    if 'rle' in value:
        return Shape(str(labels[0]), mask=partial(_mask, value['rle'], where))
    share = np.array([value.get('original_width'), value.get('original_height')], float) / 100
    if 'points' in value:
        outlines = [np.array(value['points'], float) * share]
    elif 'radiusX' in value:
        center, radii = ((value[x], value[y]) * share for x, y in ('xy', ('radiusX', 'radiusY')))
        outlines = [ellipse(center, radii, value.get('rotation', 0))]
    elif 'width' in value:
        low = (value['x'], value['y']) * share
        high = low + (value['width'], value['height']) * share
        outlines = [rectangle(*low, *high, value.get('rotation', 0))]
    return Shape(str(labels[0]), outlines, sort=sort)


def _mask(code: Sequence[int], where: str, size: Size) -> Placed:
    pixels = decode_brush(code)
    if len(pixels) != 4 * size[0] * size[1]:
        raise UserError(f'{where} has a brush of another size than its image: export it again.')
    return pixels[3::4].reshape(size) >= HALF, (0, 0)


def decode_brush(code: Sequence[int]) -> np.ndarray:
    """Decode the run lengths of a brush into the bytes R, G, B, A of all pixels.

    The format is that of the package rle-pack (github.com/thi-ng/umbrella). First come 32 bits for
    the number of words, 5 for the bits of a word, and 4 times 4 for the bits of a length. Then come
    the runs: 1 bit that tells whether one word is repeated, 2 bits that choose one of the four
    sizes of a length, the length, and the word or the words. Bits and lengths are stored minus one.
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
