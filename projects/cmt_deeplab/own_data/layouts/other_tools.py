"""VIA, the VGG Image Annotator; Supervisely; and Datumaro, which CVAT exports too."""

import base64
import io
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cmt_deeplab.image_file import FORMATS, IMAGES

from ..class_names import OBJECT
from ..json_files import read_json, required
from ..polygons import Placed, Size, ellipse, mask_of_pixels, mask_of_runs, rectangle
from ..shapes import Labeled, Shape

CHOSEN = 'dropdown', 'radio', 'checkbox'  # kinds of attributes in VIA that are chosen from a list
OF_CLASSES = 'class', 'label', 'category', 'type', 'name'  # names of attributes


def read_via(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    """A project, or exported annotations, of VIA 1 or 2.

    The class is the attribute that one chooses from a list, where the project tells it, or else one
    with a name such as "class", or else the first with a text or a checked option.
    """
    content, images = read_json(file), []
    known = content.get('_via_attributes', {}).get('region', {})
    chosen = [name for name, about in known.items() if about.get('type') in CHOSEN]
    for entry in content.get('_via_img_metadata', content).values():
        regions = required(entry, 'regions', file)
        regions = regions.values() if isinstance(regions, dict) else regions  # VIA 1
        name = required(entry, 'filename', file).rpartition('/')[2]
        images.append(Labeled([name], [_via_shape(r, chosen) for r in regions]))
    return (), images


def _via_shape(region: dict, chosen: list[str]) -> Shape:
    given, sort, outlines = region['shape_attributes'], region['shape_attributes']['name'], []
    texts = (
        next((key for key, on in value.items() if on), '') if isinstance(value, dict) else value
        for _, value in sorted(
            region['region_attributes'].items(),
            key=lambda item: (item[0] not in chosen, item[0].lower() not in OF_CLASSES),
        )
    )
    name = next((str(text).strip() for text in texts if str(text).strip()), OBJECT)
    if sort == 'polygon':
        outlines = [np.stack([given['all_points_x'], given['all_points_y']], axis=1)]
    elif sort == 'rect':
        left, top = given['x'], given['y']
        outlines = [rectangle(left, top, left + given['width'], top + given['height'])]
    elif sort in ('circle', 'ellipse'):
        radii = given.get('rx', given.get('r')), given.get('ry', given.get('r'))
        turn = np.degrees(given.get('theta', 0))
        outlines = [ellipse((given['cx'], given['cy']), radii, turn)]
    return Shape(name, outlines, sort=sort)


def read_supervisely(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    """The JSON of an image (developer.supervisely.com, Supervisely annotation format).

    Its points are pixels, which belong to the object, and not places between them.
    """
    content, shapes = read_json(file), []
    for entry in required(content, 'objects', file):
        sort, drawn = entry['geometryType'], {}
        if sort == 'bitmap':
            drawn = dict(mask=partial(_bitmap, entry['bitmap']))
        elif sort == 'polygon':
            outlines = entry['points']['exterior'], entry['points']['interior']
            drawn = dict(mask=partial(mask_of_pixels, *outlines))
        elif sort == 'rectangle':
            corners = entry['points']['exterior']
            drawn = dict(outlines=[rectangle(*np.min(corners, 0), *np.add(np.max(corners, 0), 1))])
        shapes.append(Shape(required(entry, 'classTitle', file), **drawn, sort=sort))
    size = content.get('size', {})
    names = [file.stem, *(file.stem + suffix for suffix in IMAGES)]  # ann/a.jpg.json
    return (), [Labeled(names, shapes, (size.get('height'), size.get('width')))]


def _bitmap(bitmap: dict, size: Size) -> Placed:
    """A PNG, compressed once more, whose pixel (0, 0) lies at "origin" (x, y)."""
    data = zlib.decompress(base64.b64decode(bitmap['data']))
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        shown = np.asarray(image.convert('RGBA'))[..., 3 if 'A' in image.getbands() else 0] > 0
    left, top = bitmap['origin']
    return shown, (int(top), int(left))


def read_datumaro(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    """The JSON of a subset (datumaro, plugins/data_formats/datumaro)."""
    content, images = read_json(file), []
    names = [entry['name'] for entry in content['categories']['label']['labels']]
    for item in required(content, 'items', file):
        image = item.get('image') or {}
        paths = [image.get('path'), *(item['id'] + suffix for suffix in IMAGES)]
        shapes = [_datumaro_shape(entry, names) for entry in item['annotations']]
        images.append(Labeled(paths, shapes, tuple(image.get('size') or (None, None))))
    return names, images


def _datumaro_shape(entry: dict, names: list[str]) -> Shape:
    sort, outlines = entry['type'], []
    if sort == 'polygon':
        outlines = [entry['points']]
    elif sort == 'bbox':
        left, top, width, height = entry['bbox']
        outlines = [rectangle(left, top, left + width, top + height)]
    elif sort == 'ellipse':
        (left, top), (right, bottom) = np.reshape(entry['points'], (2, 2))
        radii = (right - left) / 2, (bottom - top) / 2
        outlines = [ellipse((left + radii[0], top + radii[1]), radii)]
    return Shape(
        names[entry['label_id']] if entry.get('label_id') is not None else OBJECT,
        outlines,
        mask=partial(mask_of_runs, entry['rle']) if sort == 'mask' else None,
        group=entry.get('group') or None,
        level=entry.get('z_order', 0),
        sort=sort,
    )
