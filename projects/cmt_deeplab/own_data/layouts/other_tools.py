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
SURE = 'class', 'label', 'category'  # names of attributes that hold classes
OF_CLASSES = *SURE, 'type', 'name'


def read_via(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    """A project, or exported annotations, of VIA 1 or 2.

    The class is one attribute for the whole file: one that is called "class", "label" or
    "category", or else one that the project lets people choose from a list, or "type" or "name", or
    the first one with a text or a checked option.
    """
    content, images = read_json(file), []
    known = (content.get('_via_attributes') or {}).get('region')
    known = known if isinstance(known, dict) else {}
    kinds = {key: about.get('type') for key, about in known.items() if isinstance(about, dict)}
    chosen = [key for key, kind in kinds.items() if kind in CHOSEN]
    filled: dict[str, None] = {}  # the attributes with a text, in their order
    for entry in content.get('_via_img_metadata', content).values():
        regions = required(entry, 'regions', file)
        regions = regions.values() if isinstance(regions, dict) else regions  # VIA 1
        name = required(entry, 'filename', file).rpartition('/')[2]
        regions = [(region, _texts(region)) for region in regions]
        filled.update((key, None) for _, texts in regions for key in texts)
        images.append((name, regions))

    def rank(key: str) -> tuple[int, int]:
        name, listed = key.lower(), key in chosen
        first = OF_CLASSES.index(name) if name in OF_CLASSES else len(OF_CLASSES)
        return (0 if name in SURE else 1 if listed else 2), first

    key = min(filled, key=rank, default=None)
    return (), [
        Labeled([name], [_via_shape(region, texts.get(key, OBJECT)) for region, texts in regions])
        for name, regions in images
    ]


def _texts(region: dict) -> dict[str, str]:
    """The text, or the first checked option, of each attribute that has one."""
    texts = {}
    for key, value in region['region_attributes'].items():
        if isinstance(value, dict):
            value = next((option for option, on in value.items() if on), '')
        if text := str(value).strip():
            texts[key] = text
    return texts


def _via_shape(region: dict, name: str) -> Shape:
    given, sort, outlines = region['shape_attributes'], region['shape_attributes']['name'], []
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
