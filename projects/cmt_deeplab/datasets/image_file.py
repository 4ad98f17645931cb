"""Say in one sentence what is wrong with an image file, before OpenCV turns it into gray pixels or None."""

import io
import os
import struct

from cmt_deeplab.errors import MissingFileError, UserError

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'


def _looks_complete(data: bytes) -> bool:
    """False if the end marker is missing. Bytes may follow it, and a JPEG can hold a thumbnail with markers of its own."""
    if data.startswith(JPEG_START):
        return data.endswith(JPEG_END) or data.rfind(JPEG_END) > data.rfind(JPEG_SCAN) >= 0
    if data.startswith(PNG_START):
        return PNG_END in data[-64:]
    return False


def damage(data: bytes) -> str | None:
    """What is wrong with the bytes of an image, or None; the decoder is asked only when the end marker is not where it should be."""
    if not data:
        return 'is empty'
    if _looks_complete(data):
        return None
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except UnidentifiedImageError:
        return 'is not an image'
    except (OSError, SyntaxError, ValueError):
        return 'is truncated or damaged'
    return None


def png_size(path: str) -> tuple[int, int] | None:
    """(height, width) from the header of a local PNG, None if it is none."""
    with open(path, 'rb') as file:
        header = file.read(24)
    return (
        struct.unpack('>II', header[16:])[::-1]
        if header.startswith(PNG_START) and len(header) == 24
        else None
    )


def check_image_file(path: str, *, kind: str = 'image') -> None:
    """Check a local image by its first and last bytes, without decoding it; ``kind`` names it in the message.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty, truncated or not an image.
    """
    if not os.path.isfile(path):
        raise MissingFileError(
            f'{path} does not exist: put the image there or correct data_root and data_prefix.img of the data set.'
        )
    with open(path, 'rb') as file:
        head = file.read(8)
        file.seek(max(os.path.getsize(path) - 64, 0))
        if _looks_complete(head + file.read()):
            return
        file.seek(0)
        problem = damage(file.read())
    if problem:
        raise UserError(
            f'The {kind} {path} {problem}: fetch it again or take it out of the annotation file.'
        )
