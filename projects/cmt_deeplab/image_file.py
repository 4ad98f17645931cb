"""Say in one sentence what is wrong with an image, as a file or as an array.

OpenCV does not: it fills the missing rest of a truncated file with gray, or returns None.
"""

import io
import os
from collections.abc import Sequence
from typing import Any

from PIL import Image, UnidentifiedImageError

from cmt_deeplab.errors import MissingFileError, UserError

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'
PNG_COLORS = (2, 6)  # the color types RGB and RGBA of a PNG's header
PNG_BITS = 8  # per channel
HEADER, TAIL = 32, 64  # bytes that are looked at

PIXEL_TYPES = ('uint8', 'float32', 'float64')
LARGEST_NORMALIZED = 3  # by mean and deviation, where values below 0 are usual
VALUES = 'values from 0 to 255'
WANTED = f'the model reads (height, width, 3) in the order BGR with {VALUES}'


def _looks_complete(data: bytes) -> bool:
    """Whether the end marker is where it should be.

    Bytes may follow the marker, and a JPEG can hold a thumbnail with markers of its own.
    """
    if data.startswith(JPEG_START):
        return data.endswith(JPEG_END) or data.rfind(JPEG_END) > data.rfind(JPEG_SCAN) >= 0
    return data.startswith(PNG_START) and PNG_END in data[-TAIL:]


def damage(data: bytes) -> str | None:
    """What is wrong with the bytes of an image, or None; decodes it only if the end looks wrong."""
    if not data:
        return 'is empty'
    if _looks_complete(data):
        return None
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Image.DecompressionBombError:  # too large for Pillow, not for OpenCV
        return None
    except UnidentifiedImageError:
        return 'is not an image'
    except Exception:  # of many kinds, by format
        return 'is truncated or damaged'
    return None


def image_size(path: str) -> tuple[int, int] | None:
    """(height, width) according to the header of a local image, None where Pillow cannot tell."""
    try:
        with Image.open(path) as image:
            return image.size[::-1]
    except Exception:  # of many kinds, by format
        return None


def panoptic_png_problem(data: bytes) -> str | None:
    """Why the bytes of an image cannot hold segment ids as colors, with the remedy, or None."""
    if data.startswith(JPEG_START):
        return 'is a JPEG, which changes the colors that are segment ids: give the PNG'
    if not data.startswith(PNG_START):
        return None
    if data[25] not in PNG_COLORS:
        return (
            'is a gray or palette PNG, but segment ids are stored as RGB colors: write each id as '
            'the color R + 256 G + 65536 B (csCreatePanopticImgs does so for Cityscapes)'
        )
    if data[24] != PNG_BITS:
        return f'has {data[24]} bits per color, but segment ids are colors of 8 bits: write these'
    return None


def array_problem(image: Any, channels: Sequence[int]) -> str | None:
    """Why a numpy array is no image with one of these numbers of channels, or None.

    An image (H, W) has one channel. Floating-point numbers are an image too, if they have the
    range of 8 bits.
    """
    shape, kind = tuple(image.shape), str(image.dtype)
    depth = (*shape, 1)[2] if len(shape) in (2, 3) else 0
    if len(shape) == 4:
        remedy = 'give a list of images'
    elif not depth or 0 in shape:
        remedy = 'give the pixels of one image'
    elif depth not in channels:
        remedy = 'give these channels'
        if depth == 1:
            remedy = 'convert it with cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)'
        elif depth == 4:
            remedy = 'take away the alpha channel with image[..., :3]'
        elif shape[0] in channels:
            remedy = 'move the channels to the end with image.transpose(1, 2, 0)'
    elif kind not in PIXEL_TYPES:
        remedy = 'scale its values to this range and convert it with astype(np.uint8)'
    else:
        return None if kind == 'uint8' else range_problem(image)
    return f'has the shape {shape} and the type {kind}, but {WANTED}: {remedy}'


def range_problem(values: Any, *, beyond: float = 0) -> str | None:
    """Why floating-point numbers, an array or a tensor, do not have the range of 8 bits, or None.

    They may go ``beyond`` the range on both sides. An image that is dark all over has whole
    numbers, or some above 1; others of this size are scaled to 0..1 or normalized.
    """
    low, high = float(values.min()), float(values.max())
    scaled = high <= (1 if low >= 0 else LARGEST_NORMALIZED) and (values % 1).any()
    if -beyond <= low and high <= 255 + beyond and not scaled:
        return None
    return (
        f'has values from {low:g} to {high:g}, but the model reads {VALUES}: scale them to these, '
        'and leave the normalization to model.data_preprocessor'
    )


def check_image_file(path: str, *, kind: str = 'image') -> bytes:
    """Check a local image by its first and last bytes, without decoding it, and return the first.

    ``kind`` names the image in the message.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is empty, truncated or not an image.
    """
    if not os.path.isfile(path):
        raise MissingFileError(
            f'{path} does not exist: put the image there or correct data_root and data_prefix.img '
            'of the data set.'
        )
    with open(path, 'rb') as file:
        head = file.read(HEADER)
        file.seek(max(os.path.getsize(path) - TAIL, 0))
        if _looks_complete(head + file.read()):
            return head
        file.seek(0)
        problem = damage(file.read())
    if problem:
        raise UserError(
            f'The {kind} {path} {problem}: fetch it again or take it out of the annotation file.'
        )
    return head
