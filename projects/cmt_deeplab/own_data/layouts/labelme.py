"""LabelMe: one JSON for each image, with polygons, rectangles, circles and masks."""

import base64
import io
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import FORMATS, BadImage, read_header

from ..files import IMAGES
from ..json_files import read_json, required
from ..polygons import Placed, Size, ellipse, rectangle
from ..shapes import Labeled, Shape


def read_labelme(file: Path) -> tuple[Iterable[str], Iterable[Labeled]]:
    """The image of a JSON: the one that it names, or one of its own name, or the one inside it."""
    content = read_json(file)
    data = content.get('imageData')
    image = Labeled(
        [content.get('imagePath') or '', *(file.stem + suffix for suffix in IMAGES)],
        [_shape(shape, file) for shape in required(content, 'shapes', file)],
        (content.get('imageHeight'), content.get('imageWidth')),
        embedded=partial(_extracted, file, data) if data else None,
    )
    return (), [image]


def _extracted(file: Path, data: str, path: Path) -> Path:
    try:
        content = base64.b64decode(data)
        suffix = {'JPEG': '.jpg'}.get(form := read_header(content).format, f'.{form.lower()}')
    except (BadImage, ValueError) as error:
        raise UserError(f'{file} has "imageData" that {error}: save it again.') from None
    path = path.with_suffix(suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _shape(shape: dict, file: Path) -> Shape:
    points, name = required(shape, 'points', file), str(required(shape, 'label', file))
    sort, outlines = str(shape.get('shape_type') or 'polygon'), []
    if sort == 'rectangle' and len(points) == 2:
        outlines = [rectangle(*np.min(points, 0), *np.max(points, 0))]
    elif sort == 'circle':  # given by its center and a point on it
        radius = float(np.hypot(*np.subtract(points[1], points[0])))
        outlines = [ellipse(points[0], (radius, radius))]
    elif sort in ('polygon', 'rectangle', 'oriented_rectangle'):
        outlines = [points]
    mask = partial(_mask, shape.get('mask'), points[0]) if sort == 'mask' else None
    return Shape(name, outlines, mask=mask, group=shape.get('group_id'), sort=sort)


def _mask(data: str, first: list[float], size: Size) -> Placed:
    with Image.open(io.BytesIO(base64.b64decode(data)), formats=FORMATS) as image:
        left, top = (round(value) for value in first)
        return np.asarray(image) > 0, (top, left)
