"""The COCO panoptic format: the JSON, the PNGs whose colors are segment ids, and mmdet's maps.

This module imports neither torch nor mmdet, so that ``evaluate_panoptic.py`` starts at once. What
is wrong with a file is said in one sentence: MissingFileError where it does not exist, and
UserError otherwise.
"""

import json
from collections.abc import Callable, Container, Sequence

import cv2
import numpy as np

from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.image_file import damage, png_has_no_colors

VOID_ID = 0  # the id of black pixels in a panoptic PNG: no segment
NUM_IDS = 1 << 24  # three bytes of a color
INSTANCE_OFFSET = 1000  # of mmdet's panoptic maps, see map_value

FIELDS = dict(
    images=('id', 'file_name', 'height', 'width'),
    categories=('id', 'name', 'isthing'),
    annotations=('image_id', 'file_name', 'segments_info'),
)
HINT = 'give a COCO panoptic JSON (panoptic_*.json, not one for boxes or instances)'


def map_value(label, instance):
    """The value of a segment in mmdet's panoptic maps, of numbers or arrays.

    Void has the number of classes as its label and no instance.
    """
    return label + INSTANCE_OFFSET * instance


def label_of(value):
    """The label of a value of a panoptic map, of numbers or arrays; the inverse of map_value."""
    return value % INSTANCE_OFFSET


def check_num_classes(number: int, where: str) -> None:
    """Refuse more classes than a panoptic map can tell from its instances; void counts as one."""
    if number >= INSTANCE_OFFSET:
        raise UserError(
            f'{where}: a panoptic map holds label + {INSTANCE_OFFSET} x instance, as in mmdet, so '
            f'that there can be at most {INSTANCE_OFFSET - 1} classes, not {number}: merge classes '
            'or leave some out.'
        )


def read_bytes(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def read_panoptic_json(
    path: str,
    *,
    needs: Sequence[str] = ('categories', 'annotations'),
    optional: str | None = None,
    category_names: bool = True,
    known_categories: Container[int] | None = None,
    read: Callable[[str], bytes] = read_bytes,
) -> dict:
    """A COCO panoptic JSON, of which the lists named in ``needs`` are checked.

    Args:
        needs: any of ``images``, ``categories`` and ``annotations``.
        optional: one of these lists that may be missing, and is empty then.
        category_names: whether the categories must have names.
        known_categories: the category ids that segments may have, by default those of the file.
        read: gives the bytes of a path.
    """
    try:
        content = json.loads(read(path))
    except (FileNotFoundError, IsADirectoryError):
        raise MissingFileError(
            f'The annotation file {path} does not exist: put it there or correct the path.'
        ) from None
    except (ValueError, OSError) as error:
        raise UserError(
            f'{path} cannot be read as JSON ({error}): write or download it again.'
        ) from None
    if not isinstance(content, dict):
        raise UserError(f'{path} holds a {type(content).__name__}, not a dict: {HINT}.')
    if optional:
        content.setdefault(optional, [])
    for part in needs:
        _check_list(content.get(part), part, path, category_names)
    if 'annotations' in needs:
        if known_categories is None and 'categories' in needs:
            known_categories = {category['id'] for category in content['categories']}
        for annotation in content['annotations']:
            check_segments(annotation, path, known_categories)
    return content


def _check_list(entries: object, part: str, path: str, category_names: bool) -> None:
    if not isinstance(entries, list):
        raise UserError(f'{path} has no list "{part}": {HINT}.')
    fields = [f for f in FIELDS[part] if f != 'name' or category_names]
    for entry in entries:
        for field in fields:
            if not isinstance(entry, dict) or field not in entry:
                raise UserError(
                    f'{path} has an entry of "{part}" without "{field}" ({_short(entry)}): {HINT}.'
                )
        for side in ('height', 'width') if part == 'images' else ():
            if not isinstance(entry[side], int) or entry[side] <= 0:
                raise UserError(
                    f'{path}: image {entry["id"]} has the {side} {entry[side]!r}, which is no '
                    'positive whole number of pixels: correct it.'
                )
    _check_unique(entries, fields[0], f'{path}: "{part}"')


def _check_unique(entries: Sequence[dict], key: str, where: str) -> None:
    seen = set()
    for value in (entry[key] for entry in entries):
        if not isinstance(value, int | str):
            raise UserError(f'{where} has the "{key}" {_short(value)}: give a number or a name.')
        if value in seen:
            raise UserError(f'{where} has two entries with the "{key}" {value}: take one out.')
        seen.add(value)


def check_segments(annotation: dict, path: str, known: Container[int] | None) -> None:
    """Refuse a wrong ``segments_info``, or one with a category id that is not among the known."""
    segments, image = annotation['segments_info'], f'image {annotation["image_id"]}'
    if not isinstance(segments, list):
        raise UserError(f'{path}: "segments_info" of {image} is no list: {HINT}.')
    for segment in segments:
        where = f'{path}: a segment of {image}'
        if not isinstance(segment, dict):
            raise UserError(f'{where} is {_short(segment)}, not a dict: {HINT}.')
        for field in ('id', 'category_id'):
            if not isinstance(segment.get(field), int):
                raise UserError(
                    f'{where} has no whole number "{field}" ({_short(segment)}): correct it.'
                )
        for field in ('iscrowd', 'area'):
            if not isinstance(segment.get(field, 0), int | float):
                raise UserError(f'{where} has the "{field}" {segment[field]!r}: give a number.')
        if not 0 < segment['id'] < NUM_IDS:
            raise UserError(
                f'{where} has the id {segment["id"]}, but ids go from 1 to {NUM_IDS - 1}, the '
                'color R + 256 G + 65536 B in the PNG: correct it.'
            )
        if known is not None and segment['category_id'] not in known:
            raise UserError(
                f'{path}: segment {segment["id"]} of {image} has the category_id '
                f'{segment["category_id"]}, which is not among the categories of the data set: '
                'add the category or map the ids first.'
            )
    _check_unique(segments, 'id', f'{path}: "segments_info" of {image}')


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f'{text[:77]}...'


def read_id_plane(path: str, *, read: Callable[[str], bytes] = read_bytes) -> np.ndarray:
    """The ids R + 256 G + 65536 B of a panoptic PNG, (H, W) uint32; ``read`` gives its bytes."""
    try:
        data = read(path)
    except FileNotFoundError:
        raise MissingFileError(
            f'The panoptic PNG {path} does not exist: put it there, or correct the "file_name" in '
            'the annotation file or the folder (data_prefix.seg of the data set).'
        ) from None
    problem = damage(data)
    png = None if problem else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if png is None:
        raise UserError(
            f'The panoptic PNG {path} {problem or "cannot be decoded"}: fetch or write it again.'
        )
    if png_has_no_colors(data):
        raise UserError(
            f'{path} is a gray or palette PNG, but segment ids are stored as RGB colors: give '
            'panoptic PNGs.'
        )
    return ids_of_colors(png)


def ids_of_colors(bgr: np.ndarray) -> np.ndarray:
    """Segment ids of colors (H, W, 3) in OpenCV's order, (H, W) uint32."""
    # The bytes R, G, B, 255 are the little-endian number itself, but for the last byte.
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA).view('<u4')[..., 0] & np.uint32(NUM_IDS - 1)


def colors_of_ids(ids: np.ndarray) -> np.ndarray:
    """The colors R, G, B (H, W, 3) uint8 of segment ids (H, W), for a panoptic PNG."""
    return ids.astype('<u4')[..., None].view(np.uint8)[..., :3]


def check_same_ids(unlisted: np.ndarray, absent: np.ndarray, *, png: str, listed_in: str) -> None:
    """Refuse a PNG with ids that the annotation does not list, and an annotation with more ids.

    ``listed_in`` names the annotation in the message.
    """
    for ids, holder, other in ((unlisted, png, listed_in), (absent, listed_in, png)):
        if len(ids):
            first = ', '.join(map(str, ids[:3]))
            more = f' and {len(ids) - 3} more' if len(ids) > 3 else ''
            raise UserError(
                f'{holder} has the segment id {first}{more}, which {other} lacks: the two do not '
                'belong together, take both from one release or write both again.'
            )


def check_same_size(
    path: str, size: Sequence[int], other: str, expected: Sequence[int], remedy: str
) -> None:
    """Refuse an image at ``path`` of another ``size`` (H, W) than that of ``other``."""
    if tuple(size) != tuple(expected):
        raise UserError(
            f'{path} is {size[1]} x {size[0]} pixels but {other} is {expected[1]} x {expected[0]}: '
            f'{remedy}.'
        )
