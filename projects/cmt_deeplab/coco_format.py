"""The COCO panoptic format: PNGs whose colors are segment ids, and mmdet's panoptic maps.

The JSON beside the PNGs is read by ``panoptic_json``.

This module imports neither torch nor mmdet, so that ``evaluate_panoptic.py`` starts at once. What
is wrong with a file is said in one sentence: MissingFileError where it does not exist, and
UserError otherwise.
"""

import os.path as osp
from collections.abc import Callable, Collection, Sequence

import cv2
import numpy as np

from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.image_file import (
    BadImage,
    Header,
    panoptic_png_problem,
    read_header,
    refuse_device,
    require_whole,
)

VOID_ID = 0  # the id of black pixels in a panoptic PNG: no segment
NUM_IDS = 1 << 24  # three bytes of a color
# of the PNG, whose EXIF data do not count, as in panopticapi
AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
INSTANCE_OFFSET = 1000  # of mmdet's panoptic maps, see map_value


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


def path_below(folder: str, name: str, listed_in: str) -> str:
    """The path of the file ``name`` below ``folder``, where links may lead anywhere.

    Without a folder there is no outside, and any path will do.

    Raises:
        UserError: the name, which ``listed_in`` gives, is an address or no path below the folder.
    """
    first, *others = name.replace('\\', '/').split('/')
    outside = folder and ('..' in (first, *others) or not first)
    if outside or (others and first.endswith(':')):
        raise UserError(
            f'{listed_in} has the "file_name" {name[:200]!r}, which leads out of the folder '
            f'{folder or "."}: give paths below it, and name a folder that holds all files '
            '(data_prefix of the data set).'
        )
    return osp.join(folder, name)


def read_bytes(path: str) -> bytes:
    with open(path, 'rb') as stream:
        return stream.read()


def read_id_plane(
    path: str,
    *,
    read: Callable[[str], bytes] = read_bytes,
    check_size: Callable[[tuple[int, int]], None] = lambda size: None,
) -> np.ndarray:
    """The ids R + 256 G + 65536 B of a panoptic PNG, (H, W) uint32; ``read`` gives its bytes.

    ``check_size`` gets (H, W) and may refuse it before anything is decoded.
    """
    try:
        refuse_device(path)
        data = read(path)
    except FileNotFoundError:
        raise MissingFileError(
            f'The panoptic PNG {path} does not exist: put it there, or correct the "file_name" in '
            'the annotation file or the folder (data_prefix.seg of the data set).'
        ) from None
    except (OSError, ValueError) as error:  # a ValueError where no file can have such a name
        raise UserError(
            f'The panoptic PNG {path!r} cannot be read ({error}): correct the "file_name" in the '
            'annotation file or the rights of the file.'
        ) from None
    try:
        header = read_header(data)
        if problem := panoptic_png_problem(header):
            raise UserError(f'{path} {problem}.')
        check_size(header.size_read(turning=False))
        return ids_of_colors(_colors(data, header))
    except BadImage as problem:
        raise UserError(f'The panoptic PNG {path} {problem}: fetch or write it again.') from None


def _colors(data: bytes, header: Header) -> np.ndarray:
    """The colors R, G, B (H, W, 3) of an image.

    kornia-rs decodes the usual PNG five times as fast as OpenCV. What it does not take, OpenCV
    reads or refuses.
    """
    from kornia_rs.io import decode_image_png_u8

    if (header.format, header.mode) == ('PNG', 'RGB'):
        try:
            return decode_image_png_u8(data, header.size, 'rgb')
        except Exception:  # it has no other class for its errors
            pass
    require_whole(data)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), AS_STORED)
    if image is None:
        raise BadImage('cannot be decoded')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def ids_of_colors(rgb: np.ndarray) -> np.ndarray:
    """Segment ids of colors R, G, B (H, W, 3), (H, W) uint32."""
    # The bytes R, G, B, 255 are the little-endian number itself, but for the last byte.
    ids = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).view('<u4')[..., 0]
    ids &= np.uint32(NUM_IDS - 1)
    return ids


def colors_of_ids(ids: np.ndarray) -> np.ndarray:
    """The colors R, G, B (H, W, 3) uint8 of segment ids (H, W), for a panoptic PNG."""
    return ids.astype('<u4')[..., None].view(np.uint8)[..., :3]


def check_same_ids(
    unlisted: Collection[int], absent: Collection[int], *, png: str, listed_in: str
) -> None:
    """Refuse a PNG with ids that the annotation does not list, and an annotation with more ids.

    ``listed_in`` names the annotation in the message.
    """
    for ids, holder, other in ((unlisted, png, listed_in), (absent, listed_in, png)):
        if len(ids):
            first = ', '.join(map(str, sorted(ids)[:3]))
            more = f' and {len(ids) - 3} more' if len(ids) > 3 else ''
            raise UserError(
                f'{holder} has the segment id {first}{more}, which {other} lacks: the two do not '
                'belong together, take both from one release or write both again.'
            )


def check_same_size(
    path: str, size: Sequence[int], other: str, expected: Sequence[int] | None, remedy: str
) -> None:
    """Refuse an image at ``path`` of another ``size`` (H, W) than that of ``other``, if known."""
    if expected is not None and tuple(size) != tuple(expected):
        raise UserError(
            f'{path} is {size[1]} x {size[0]} pixels but {other} is {expected[1]} x {expected[0]}: '
            f'{remedy}.'
        )


def box_of(region: tuple[slice, slice]) -> list[int]:
    """COCO's [x, y, width, height] of a region, as ``scipy.ndimage.find_objects`` gives it."""
    y, x = region
    return [x.start, y.start, x.stop - x.start, y.stop - y.start]
