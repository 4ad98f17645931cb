"""Say in one sentence what is wrong with an image, as a file or as an array.

OpenCV does not: it fills the missing rest of a truncated file with gray, or returns None. What a
header tells is read before anything is decoded, by the few readers of Pillow in ``FORMATS``. Others
of Pillow start programs or unpack archives, whatever the name of the file ends in.
"""

import os
import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError

from cmt_deeplab.errors import MissingFileError, UserError

# endings of their files; the first ones keep every value, as a mask must
EXACT = ('.png', '.tif', '.tiff', '.bmp', '.gif', '.pgm', '.ppm')
IMAGES = (*EXACT, '.jpg', '.jpeg', '.webp', '.jp2', '.avif')
FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'BMP', 'GIF', 'PPM', 'JPEG2000', 'AVIF')
WIDTH, HEIGHT, ORIENTATION = 0x0100, 0x0101, 0x0112  # tags of TIFF; the last one is of EXIF too
SIDEWAYS = 5  # of the orientations 1 (as it is stored) to 8, those from here on turn by 90 degrees
# Pillow refuses more than twice its MAX_IMAGE_PIXELS, and below that a warning is of no use.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)

JPEG_START, JPEG_SCAN, JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
PNG_START, PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND'
TIFF_STARTS = b'II*\x00', b'MM\x00*'
PNG_COLORS = (2, 6)  # the color types RGB and RGBA of a PNG's header
PNG_BITS = 8  # per channel
HEADER, TAIL = 32, 64  # bytes that are looked at

PIXEL_TYPES = ('uint8', 'float32', 'float64')
LARGEST_NORMALIZED = 3  # by mean and deviation, where values below 0 are usual
VALUES = 'values from 0 to 255'
WANTED = f'the model reads (height, width, 3) in the order BGR with {VALUES}'


class BadImage(Exception):
    """What is wrong with the bytes of an image, as the end of a sentence on it."""


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image tell, and these bytes."""

    format: str  # Pillow's name of it
    size: tuple[int, int]  # (height, width) as the pixels are stored
    orientation: int  # of the EXIF data
    start: bytes
    mode: str = ''  # Pillow's name of the kind of pixels

    @property
    def bits(self) -> int:
        """Per color."""
        if self.format == 'PNG':
            return self.start[24]
        if self.mode == 'F' or (self.mode == 'I' and self.format == 'TIFF'):
            return 32
        return 16 if self.mode.startswith('I') else 8

    def size_read(self, *, turning: bool) -> tuple[int, int]:
        """(height, width) as OpenCV gives it, with or without its turn by the EXIF data.

        It turns a TIFF in any case, and a WebP or AVIF in none.
        """
        turns = self.format == 'TIFF' or (turning and self.format in ('JPEG', 'PNG'))
        return self.size[::-1] if turns and self.orientation >= SIDEWAYS else self.size


def read_header(data: bytes | BinaryIO) -> Header:
    """The header of an image, without decoding it.

    Raises:
        BadImage: there is none, or it has more pixels than Pillow's limit, 13,377 to the side.
    """
    file = data if hasattr(data, 'read') else BytesIO(data)
    start = file.read(HEADER)
    if not start:
        raise BadImage('is empty')
    file.seek(0)
    try:
        with Image.open(file, formats=FORMATS) as image:
            tags = image.tag_v2 if image.format == 'TIFF' else None
            height, width = (tags[HEIGHT], tags[WIDTH]) if tags else image.size[::-1]
            orientation = tags.get(ORIENTATION) if tags else _orientation(image)
            orientation = orientation if orientation in range(1, 9) else 1
            # a photograph of a telephone may be several JPEGs, of which the first is read
            form = 'JPEG' if image.format == 'MPO' else image.format
            return Header(form, (height, width), orientation, start, image.mode)
    except Image.DecompressionBombError:
        raise BadImage(
            f'has more than {2 * Image.MAX_IMAGE_PIXELS} pixels, which would fill the memory (the '
            'limit is twice PIL.Image.MAX_IMAGE_PIXELS, which a config may set)'
        ) from None
    except (UnidentifiedImageError, KeyError):  # the latter where Pillow lacks a reader
        tiff = start.startswith(TIFF_STARTS)  # of floating-point colors, or of five channels
        raise BadImage('is a TIFF of an unusual kind' if tiff else 'is not an image') from None
    except Exception:  # of many kinds, by format
        raise BadImage('is truncated or damaged') from None


def _orientation(image: Image.Image) -> Any:
    data, exif = image.info.get('exif'), Image.Exif()
    try:
        exif.load(data or (_png_exif(image.fp) if image.format == 'PNG' else b''))
        return exif.get(ORIENTATION)
    except Exception:  # of many kinds; OpenCV turns nothing then
        return None


def _png_exif(file: BinaryIO) -> bytes:
    """The EXIF data that may stand behind the pixels of a PNG, where Pillow does not look."""
    file.seek(len(PNG_START))
    while len(chunk := file.read(8)) == 8:
        length, name = struct.unpack('>I4s', chunk)
        if name == b'eXIf':
            return file.read(length)
        file.seek(length + 4, os.SEEK_CUR)  # and its checksum
    return b''


def _looks_complete(data: bytes) -> bool:
    """Whether the end marker is where it should be.

    Bytes may follow the marker, and a JPEG can hold a thumbnail with markers of its own.
    """
    if data.startswith(JPEG_START):
        return data.endswith(JPEG_END) or data.rfind(JPEG_END) > data.rfind(JPEG_SCAN) >= 0
    return data.startswith(PNG_START) and PNG_END in data[-TAIL:]


def refuse_device(path: str | os.PathLike) -> None:
    """Raise an :class:`OSError` for a pipe or a device, whose end may never come."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError('it is no file')


def require_whole(data: bytes) -> None:
    """Raise :class:`BadImage` where an image is not; it is decoded only if its end looks wrong."""
    if not _looks_complete(data):
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                image.load()
        except Exception:  # of many kinds, by format
            raise BadImage('is truncated or damaged') from None


def panoptic_png_problem(header: Header) -> str | None:
    """Why an image cannot hold segment ids as colors, with the remedy, or None."""
    if header.format == 'JPEG':
        return 'is a JPEG, which changes the colors that are segment ids: give the PNG'
    if header.format != 'PNG':
        return None
    bits, colors = header.start[24:26]
    if colors not in PNG_COLORS:
        return (
            'is a gray or palette PNG, but segment ids are stored as RGB colors: write each id as '
            'the color R + 256 G + 65536 B (csCreatePanopticImgs does so for Cityscapes)'
        )
    if bits != PNG_BITS:
        return f'has {bits} bits per color, but segment ids are colors of 8 bits: write 8 bits'
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


def check_image_file(path: str, *, kind: str = 'image') -> Header:
    """Check a local image by its first and last bytes, without decoding it; its header.

    ``kind`` names the image in the message.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is empty, truncated or not an image.
    """
    if not os.path.isfile(path):
        raise MissingFileError(
            f'There is no file {path}: put the image there or correct data_root and '
            'data_prefix.img of the data set.'
        )
    try:
        with open(path, 'rb') as file:
            header = read_header(file)
            file.seek(max(os.path.getsize(path) - TAIL, 0))
            if not _looks_complete(header.start + file.read()):
                file.seek(0)
                require_whole(file.read())
    except BadImage as problem:
        raise UserError(
            f'The {kind} {path} {problem}: fetch or write it again, or take it out of the '
            'annotation file.'
        ) from None
    return header
