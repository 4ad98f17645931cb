"""LabelMe: one JSON for each image, with polygons, rectangles, circles and masks."""

import base64
import io
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import FORMATS, BadImage, read_header

from ..annotated import Layout, Region, Segment
from ..files import Files, counted, named
from ..json_files import read_json, required
from ..polygons import ellipse, polygon_region, rectangle
from ..shapes import LabeledImage, Shape, Size, shapes_layout

SHAPES = 'polygon', 'rectangle', 'circle', 'mask', 'oriented_rectangle'


def find_labelme(files: Files, jsons: list[Path]) -> Layout:
    """The layout of the JSONs of LabelMe below the root.

    Raises:
        UserError: a JSON is damaged, or its image is neither there nor in it.
    """
    images, left_out = [], Counter()
    for file in jsons:
        content, shapes = read_json(file), []
        for shape in required(content, 'shapes', file):
            points, name = required(shape, 'points', file), str(required(shape, 'label', file))
            if (sort := str(shape.get('shape_type') or 'polygon')) in SHAPES:
                region = partial(_region, sort, points, shape.get('mask'))
                shapes.append(Shape(name, region, shape.get('group_id')))
            else:
                left_out[sort] += 1
        path = _image_of(files, file, content)
        size = content.get('imageHeight'), content.get('imageWidth')
        images.append(LabeledImage(path, file, shapes, size, files.split_of(file)))
    layout = shapes_layout('LabelMe', images, left_out=left_out)
    used = {image.path for image in images}
    if alone := [path for path in files.images if path not in used]:
        which = counted(len(alone), 'image')
        layout.notes.append(f'Left out, as there is no JSON for it: {which} ({named(alone)}).')
    return layout


def _image_of(files: Files, file: Path, content: dict) -> Path:
    """The image of a JSON: that which it names, or that of its own name, or that in it."""
    name = str(content.get('imagePath') or '')
    beside = {path.stem: path for path in files.images if path.parent == file.parent}
    found = files.find_image(name, file) or beside.get(file.stem)
    if found is None and not content.get('imageData'):
        raise UserError(
            f'{file} has the image {name!r}, which is not below {files.root}, and no "imageData": '
            'put the image beside it.'
        )
    if found is None:
        try:
            data = base64.b64decode(content['imageData'])
            suffix = {'JPEG': '.jpg'}.get(form := read_header(data).format, f'.{form.lower()}')
        except (BadImage, ValueError) as error:
            raise UserError(f'{file} has "imageData" that {error}: save it again.') from None
        found = files.extracted / file.relative_to(files.root).with_suffix(suffix)
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_bytes(data)
    return found


def _region(
    sort: str, points: list, mask: str | None, segment: Segment, size: Size, where: str
) -> Region:
    if sort == 'mask':  # of the pixels from the first point to the second one
        (left, top), _ = np.round(points).astype(int)
        with Image.open(io.BytesIO(base64.b64decode(mask)), formats=FORMATS) as image:
            return Region(segment, np.asarray(image) > 0, (int(top), int(left)))
    flat = np.array(points, float).ravel().tolist()
    if sort == 'rectangle' and len(points) == 2:
        flat = rectangle(*np.min(points, 0), *np.max(points, 0))
    elif sort == 'circle':  # of its center and a point on it
        radius = float(np.hypot(*np.subtract(points[1], points[0])))
        flat = ellipse(points[0], (radius, radius))
    return polygon_region(segment, [flat], size, where)
