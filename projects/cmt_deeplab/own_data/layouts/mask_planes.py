"""Masks in image files: the numbers of objects and of classes that each pixel holds."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import find_objects

from cmt_deeplab.coco_format import check_same_size
from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import FORMATS, PNG_BITS, PNG_COLORS, BadImage, read_header
from cmt_deeplab.planes import ranked, runs

from ..annotated import Region, Segment, painted

FACTOR = 1 << 32  # by which the class is multiplied in a key
MOST = 0.9  # an object has at least this share of its pixels in its largest connected region
EXACT = 'PNG', 'TIFF', 'BMP', 'GIF', 'PPM'  # formats that keep every value


def read_mask(path: Path, size: tuple[int, int], *, as_colors: bool = False) -> np.ndarray:
    """The numbers (H, W) int64 in a mask of an image of ``size``.

    A number is a gray value of 1 to 32 bits, an index into a palette, or R + 256 G + 65536 B of a
    color; in an image of colors that are all gray it is the gray value. With ``as_colors`` it is
    always that of the color, also with a palette.

    Raises:
        UserError: the file cannot hold exact numbers, is damaged, or has another size.
    """
    try:
        numbers = _numbers(path, as_colors)
    except OSError as error:
        raise UserError(
            f'The mask {path} cannot be read ({error}): write it again as a PNG.'
        ) from None
    except BadImage as problem:
        raise UserError(f'The mask {path} {problem}.') from None
    remedy = (
        'a mask has the size of its image; write it again in this size, or write the image without '
        'an EXIF orientation if it has one'
    )
    check_same_size(f'The mask {path}', numbers.shape, 'its image', size, remedy)
    return numbers


def _numbers(path: Path, as_colors: bool) -> np.ndarray:
    with open(path, 'rb') as file:
        header = read_header(file)
        bits, colors = header.start[24:26] if header.format == 'PNG' else (PNG_BITS, 0)
        if header.format not in EXACT:
            raise BadImage(
                f'is a {header.format}, which changes the numbers in it: write the mask as a PNG '
                'or TIFF'
            )
        if bits > PNG_BITS and colors in PNG_COLORS:
            raise BadImage(f'has colors of {bits} bits: write numbers as gray of 16 bits')
        with Image.open(file, formats=FORMATS) as image:
            if getattr(image, 'n_frames', 1) > 1:
                raise BadImage(f'holds {image.n_frames} pages: write one mask in each file')
            if image.mode in ('RGB', 'RGBA') or (image.mode == 'P' and as_colors):
                rgb = np.asarray(image.convert('RGB')).astype(np.int64)
                gray = (rgb == rgb[..., :1]).all()
                return rgb[..., 0] if gray and not as_colors else rgb @ [1, 1 << 8, 1 << 16]
            numbers = np.asarray(image)
    numbers = numbers[..., 0] if numbers.ndim == 3 else numbers  # gray with transparency
    if numbers.dtype.kind == 'f' and not (numbers == np.floor(numbers)).all():
        raise BadImage('holds fractions: write whole numbers')
    numbers = numbers.astype(np.int64)
    if numbers.min() < 0:
        raise BadImage('holds negative numbers: write 0 where there is nothing')
    return numbers


@dataclass(frozen=True)
class MaskPlanes:
    """The masks of one image, any of which may be missing."""

    objects: Path | None = None  # the numbers of objects
    apart: tuple[tuple[Path, int], ...] = ()  # or one mask for each object, with its class
    classes: Path | None = None  # the values of classes
    colors: bool = False  # whether the values of classes are colors
    one_value: bool = False  # every value of the map of classes but 0 stands for one class, 1

    @property
    def has_objects(self) -> bool:
        return bool(self.objects or self.apart)

    @property
    def described(self) -> str:
        connected = 'for each image, each connected region of a thing taken for one object'
        if not self.has_objects:
            return f'{"a mask of one value" if self.one_value else "a map of classes"} {connected}'
        each = 'object' if self.apart else 'image'
        return f'instance masks, one PNG for each {each}' + ', and a map of classes' * bool(
            self.classes
        )

    def keys(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The distinct keys of an image, ascending, and for each pixel (H, W) the index of its key.

        A key is FACTOR times the value of the class, plus the number of the object. Without a map
        of classes the objects have the class that ``apart`` tells, or 1.
        """
        numbers = np.zeros(size, np.int64)
        if self.objects:
            numbers = read_mask(self.objects, size)
        elif self.apart:
            masks = (read_mask(path, size) > 0 for path, _ in self.apart)
            numbers = painted([[Region(Segment(''), mask)] for mask in masks], size).plane
        if self.classes:
            values = read_mask(self.classes, size, as_colors=self.colors)
            values = values > 0 if self.one_value else values
        elif self.apart:
            values = np.array([0, *(value for _, value in self.apart)])[numbers]
        else:
            values = numbers > 0
        distinct, lengths = runs(values * FACTOR + numbers)
        distinct, places = ranked(distinct)
        return distinct, np.repeat(places, lengths).reshape(size)

    def scattered(self, size: tuple[int, int]) -> list[bool]:
        """For each key except 0, whether its pixels lie in several places."""
        keys, places = self.keys(size)
        found = []
        for k, box in enumerate(find_objects(places + 1)):
            if keys[k]:
                mask = (places[box] == k).view(np.uint8)
                areas = cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA]
                found.append(bool(areas.max() < MOST * areas.sum()))
        return found
