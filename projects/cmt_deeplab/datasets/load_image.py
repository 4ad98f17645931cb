"""The door of the pipelines: what loads an image checks it, in training, testing and inference.

The loaders of mmcv and mmdet are changed in place, because mmdet's inference API puts them into
the pipeline by name, ``inference_detector`` according to the first of its images. So each loader
takes a path and an array. mmdet writes the name into the config of the model and leaves it there,
so that the next call finds another pipeline; here it changes a copy.
"""

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv import image as mmcv_image
from mmcv.image import io as mmcv_io
from mmcv.image.io import imread_flags
from mmcv.transforms import LoadImageFromFile
from mmdet.apis import DetInferencer, inference
from mmdet.datasets.transforms import InferencerLoader, LoadImageFromNDArray
from mmdet.utils.misc import IMG_EXTENSIONS
from mmengine.fileio import FileClient, get

from cmt_deeplab.coco_format import check_same_size
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.image_file import (
    SIDEWAYS,
    WANTED,
    BadImage,
    Header,
    array_problem,
    read_header,
    refuse_device,
    require_whole,
)

CHANNELS = dict(color=(3,), grayscale=(1,), unchanged=range(1, 5))  # by color_type of a loader
# OpenCV's flags by how often a JPEG is halved or more while it is decoded
REDUCED = {
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
FEWEST_BITS = 14  # an image that uses no more of 16 bits is nearly black


def load_image(self: LoadImageFromFile, results: dict) -> dict | None:
    """``img``, the image in ``results`` or at ``img_path``, with its shapes.

    It is uint8 with the channels that ``color_type`` names, or floating point with values of that
    range. With ``ignore_empty`` an image that cannot be read is None.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is damaged or does not suit its panoptic PNG, or it or the array is no
            such image.
    """
    path, color = results.setdefault('img_path', None), self.color_type.partition('_')[0]
    if color not in CHANNELS:
        raise UserError(
            f'{type(self).__name__} has color_type={self.color_type!r}: give one of '
            f'{", ".join(map(repr, CHANNELS))}.'
        )
    try:
        if 'img' in results:
            image, name = results['img'], 'The image given as an array'
        else:
            image, name = _read(self, results), f'The image {path}'
        if not isinstance(image, np.ndarray):
            raise _no_image(image)
        problem = array_problem(image, CHANNELS[color])
        if problem:
            raise UserError(f'{name} {problem}.')
    except UserError:
        if self.ignore_empty:
            return None
        raise
    results['img'] = image.astype(np.float32) if self.to_float32 else image
    reduced = results.get('reduced_by')
    size = (results['height'], results['width']) if reduced else image.shape[:2]
    results['img_shape'] = results['ori_shape'] = size
    return results


def _read(loader: LoadImageFromFile, results: dict) -> np.ndarray:
    """The image at ``img_path``, read as OpenCV reads it: of 16 bits about the upper 8."""
    path, kind, backend = results['img_path'], loader.color_type, loader.imdecode_backend
    if not isinstance(path, str | os.PathLike):
        raise _no_image(path)
    data, flag, image = _bytes(loader, path), kind, None
    if backend == 'cv2' and kind != 'unchanged':
        flag = imread_flags[kind] | cv2.IMREAD_ANYDEPTH
    try:
        header, reduced = read_header(data), results.pop('reducible_by', 1)
        check_header(header, results, loader)
        if reduced > 1 and header.format == 'JPEG' and flag != kind:
            flag, results['reduced_by'] = imread_flags[kind] | REDUCED[reduced], reduced
        require_whole(data)
        problem = None
        if header.bits > 16 and flag != kind:
            raise _unscaled(path, 'has 32 bits per color')
        image = mmcv.imfrombytes(data, flag=flag, backend=backend)
        if flag != kind and image is not None and image.dtype == np.uint16:
            if dark := _too_dark(image):
                raise _unscaled(path, dark)
            image = mmcv.imfrombytes(data, flag=kind, backend=backend)
    except UserError:
        raise
    except BadImage as error:
        problem = error
    except Exception as error:  # of many kinds, by backend
        problem = f'cannot be decoded with imdecode_backend={backend!r} ({error!r})'
    if problem or image is None:
        raise UserError(
            f'The image {path} {problem or "cannot be decoded"}: fetch it again, write it as a '
            'JPEG or PNG of 8 bits, or take it out.'
        )
    return image


def check_header(header: Header, results: dict, loader: LoadImageFromFile) -> None:
    """Refuse an image that does not suit its panoptic PNG, or may not, before it is decoded.

    The EXIF data of a camera may ask for a turn. OpenCV turns the image, but the PNG is read as it
    is stored, whether it was made of the turned image or not. Turned by 90 degrees, the image has
    other sides, so that their lengths tell; otherwise nothing does.
    """
    if not results.get('seg_map_path') or not {'segments_info', 'height', 'width'} <= {*results}:
        return
    path, kind = results['img_path'], loader.color_type
    size = results['height'], results['width']
    turning = kind in ('color', 'grayscale')
    read = header.size_read(turning=turning)
    if sorted(size) != sorted(read) or (header.orientation == 1 and size != read):
        remedy = 'take images, PNGs and annotation file from one release'
        check_same_size(f'The image {path}', read, 'its size in the annotation file', size, remedy)
    ignored = not turning and header.format != 'TIFF'
    sides_tell = header.orientation >= SIDEWAYS and size == read != read[::-1]
    if not (header.orientation == 1 or ignored or sides_tell):
        raise UserError(
            f'The image {path} has the EXIF orientation {header.orientation}, which turns it but '
            'not its panoptic PNG: write the image without an orientation, as the PNG shows it, or '
            "set color_type='color_ignore_orientation' of LoadImageFromFile if the PNG shows it as "
            'it is stored.'
        )


def _too_dark(image: np.ndarray) -> str | None:
    """What is wrong with an image of 16 bits that is nearly black, such as one of 12."""
    if 0 < image.max() < 1 << FEWEST_BITS:
        return f'has 16 bits per color, but its values end at {image.max()}, which is nearly black'
    return None


def _unscaled(path: str | os.PathLike, why: str) -> UserError:
    return UserError(
        f'The image {path} {why}: scale its values to 0..255 and write it with 8 bits.'
    )


def _bytes(loader: LoadImageFromFile, path: str | os.PathLike) -> bytes:
    client = loader.file_client_args  # an old form of backend_args, with other names
    try:
        refuse_device(path)
        if client is not None:
            return FileClient.infer_client(client, path).get(path)
        return get(path, backend_args=loader.backend_args)
    except FileNotFoundError:
        raise MissingFileError(
            f'The image {path} does not exist: put it there or correct the path.'
        ) from None
    except Exception as error:  # of many kinds, by backend
        raise UserError(
            f'The image {path} cannot be read ({error!r}): correct the path, or backend_args of '
            'the loader.'
        ) from error


def _no_image(given: Any) -> UserError:
    return UserError(
        f'An image is given as {type(given).__name__}: give the path of a file or a numpy array, '
        f"of a PIL image np.array(image.convert('RGB'))[..., ::-1]; {WANTED}."
    )


def load_given(self: InferencerLoader, results: Any) -> dict | None:
    """Load what ``DetInferencer`` is given: a path, an array, or a dict with one of them."""
    if not isinstance(results, dict):
        results = {'img' if isinstance(results, np.ndarray) else 'img_path': results}
    return self.from_file(results)


def images_to_load(self: DetInferencer, inputs: Any) -> list:
    """As in mmdet, also for a :class:`Path`, but not for a folder without images."""
    if isinstance(inputs, list | tuple):
        return [_as_text(each) for each in inputs]
    try:
        images = _inputs_to_list(self, _as_text(inputs))
    except Exception:  # of many kinds, by backend; the loader names the image
        images = [inputs]
    if not images:
        known = ', '.join(IMG_EXTENSIONS)
        raise UserError(f'The folder {inputs} holds no image: name one with images ({known}).')
    return images


def _as_text(given: Any) -> Any:
    return os.fspath(given) if isinstance(given, os.PathLike) else given


def find_transform(self: DetInferencer, pipeline: Sequence[dict], wanted: tuple) -> int:
    """As in mmdet, also in a config whose types are classes."""
    for index, config in enumerate(pipeline):
        kind = config['type']
        if (kind.rpartition('.')[2] if isinstance(kind, str) else kind) in wanted:
            return index
    return -1


def imfrombytes(
    content: bytes, flag: str = 'color', channel_order: str = 'bgr', backend: str | None = None
) -> np.ndarray:
    """As in mmcv, but Pillow reads no other formats than ``image_file.FORMATS``."""
    if (backend or mmcv_io.imread_backend) == 'pillow':
        try:
            read_header(content)
        except BadImage as problem:
            raise UserError(f'An image {problem}: write it as a JPEG or PNG.') from None
    return _imfrombytes(content, flag, channel_order, backend)


def _changing_a_copy(function: Callable) -> Callable:
    """``function`` with a copy in place of its last argument, a config."""
    return lambda *arguments: function(*arguments[:-1], deepcopy(arguments[-1]))


_imfrombytes = mmcv.imfrombytes
mmcv.imfrombytes = mmcv_image.imfrombytes = mmcv_io.imfrombytes = imfrombytes
_inputs_to_list = DetInferencer._inputs_to_list
LoadImageFromFile.transform = LoadImageFromNDArray.transform = load_image
InferencerLoader.transform = load_given
DetInferencer._inputs_to_list = images_to_load
DetInferencer._get_transform_idx = find_transform
DetInferencer._init_pipeline = _changing_a_copy(DetInferencer._init_pipeline)
inference.get_test_pipeline_cfg = _changing_a_copy(inference.get_test_pipeline_cfg)
