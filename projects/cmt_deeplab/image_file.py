"""Say in one sentence what is wrong with an image file.

OpenCV does not: it fills the missing rest of a truncated image with gray, or returns None.
"""

import io
import os

from PIL import Image, UnidentifiedImageError

from cmt_deeplab.errors import MissingFileError, UserError

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'
PNG_COLORS = (2, 6)  # the color types RGB and RGBA of a PNG's header
HEADER, TAIL = 32, 64  # bytes that are looked at


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
    except UnidentifiedImageError:
        return 'is not an image'
    except (OSError, SyntaxError, ValueError):
        return 'is truncated or damaged'
    return None


def png_size(header: bytes) -> tuple[int, int] | None:
    """(height, width) according to the first bytes of a PNG, None if they are not of a PNG."""
    if not header.startswith(PNG_START):
        return None
    return int.from_bytes(header[20:24], 'big'), int.from_bytes(header[16:20], 'big')


def png_has_no_colors(header: bytes) -> bool:
    """Whether these are the first bytes of a gray or palette PNG."""
    return header.startswith(PNG_START) and header[25] not in PNG_COLORS


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
