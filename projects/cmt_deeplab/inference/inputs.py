"""The inputs of the inferencer as a series of images, each with a name of its own."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import escape, glob
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, ImageOps

from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.image_file import IMAGES, array_problem

VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv')
VIDEOS += ('.mts', '.m2ts', '.3gp', '.ogv')
SURE = 0.9  # a header only estimates the number of frames; this share must be there
PIL_MODES = ('RGB', 'RGBA', 'L', 'LA', 'P', 'PA', '1', 'CMYK', 'YCbCr', 'HSV')  # of 8 bits


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image: a file, an array (H, W, 3) in BGR, or a frame of a video.

    ``problem`` is the error of a video that has no frame.
    """

    name: str
    path: str | None = None
    image: np.ndarray | None = None
    frame: int | None = None
    frames_per_second: float | None = None
    problem: UserError | None = None


def open_inputs(inputs: Any, channel_order: str) -> tuple[Iterator[Item], int | None]:
    """The images of ``inputs``, read one by one, and their number where it is known.

    Args:
        inputs: a path, folder, pattern such as ``'photos/**/*.jpg'``, video, array or PIL image,
            or a list or iterator of them.
        channel_order: 'rgb' or 'bgr', that of arrays.

    Raises:
        MissingFileError: there is nothing at a path.
        UserError: a folder holds no image, or something else was given.
    """
    if channel_order not in ('rgb', 'bgr'):
        raise UserError(f"channel_order is {channel_order!r}: give 'rgb' or 'bgr'.")
    if isinstance(inputs, str | os.PathLike | np.ndarray | Image.Image):
        inputs = [inputs]
    if not isinstance(inputs, Iterable) or hasattr(inputs, 'items'):
        inputs = [_array(inputs, channel_order)]  # raises
    if not isinstance(inputs, Sequence):
        return _from_iterator(inputs, channel_order), None
    given = [each for one in inputs for each in (_files(one) if _is_path(one) else [one])]
    if not given:
        raise UserError('No image was given: the list is empty.')
    paths = [each for each in given if _is_path(each)]
    names = distinct_names(paths)
    total = sum(_count(each) if _is_path(each) else 1 for each in given)

    def read() -> Iterator[Item]:
        for number, each in enumerate(given):
            if _is_path(each):
                yield from _of_path(each, names[each])
            else:
                yield Item(name=f'image_{number:06d}', image=_array(each, channel_order))

    return read(), total


def distinct_names(paths: Sequence[str]) -> dict[str, str]:
    """A name for each path: its last part without ending, unless two would have the same one.

    Then the folders below the common one come before the names, and if need be the endings stay.
    Two numbers that are equal, such as 7 and 007, are the same name.
    """
    distinct = dict.fromkeys(paths)
    folders = [os.path.dirname(os.path.abspath(path)) for path in distinct]
    root = os.path.commonpath(folders) if folders else ''
    below = [PurePath(os.path.relpath(os.path.abspath(path), root)) for path in distinct]
    for form in (
        [path.stem for path in below],
        [path.with_suffix('').as_posix() for path in below],
        [path.as_posix() for path in below],
    ):
        if len({image_id(name) for name in form}) == len(distinct):
            break
    return dict(zip(distinct, form))


def image_id(name: str) -> int | str:
    """The id in a COCO panoptic JSON: the number that a name is, as in COCO, or the name."""
    return int(name) if name.isdecimal() and name.isascii() else name


def _is_path(given: Any) -> bool:
    return isinstance(given, str | os.PathLike)


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEOS)


def _files(given: str | os.PathLike) -> list[str]:
    """The files that a path, a folder or a pattern stands for; hidden ones of a folder are not."""
    path = os.path.expanduser(os.fspath(given))
    if '://' in path:
        raise UserError(f'{path} is an address: fetch the file, and give its path.')
    if os.path.isdir(path):
        found = sorted(
            entry.path
            for entry in os.scandir(path)
            if entry.name[0] != '.' and entry.name.lower().endswith((*IMAGES, *VIDEOS))
            if entry.is_file() or not os.path.exists(entry.path)  # a link to nothing is told of
        )
        if not found:
            raise UserError(
                f'The folder {path} holds no image and no video ({", ".join(IMAGES + VIDEOS)}): '
                f"name another one, or for the folders in it '{Path(path, '**', '*.jpg')}'."
            )
        return found
    if os.path.exists(path):
        return [path]
    folder = os.path.dirname(path)
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    pattern = escape(folder) + path[len(folder) :]  # brackets in names of folders are no pattern
    found = sorted(filter(os.path.isfile, glob(pattern, recursive=True)))
    if not found:
        raise MissingFileError(f'There is no image, folder or video {path}: correct the path.')
    return found


def _of_path(path: str, name: str) -> Iterator[Item]:
    if not _is_video(path):
        yield Item(name=name, path=path)
        return
    video = cv2.VideoCapture(path)
    rate = video.get(cv2.CAP_PROP_FPS) or 25.0
    number = 0
    while True:
        there, image = video.read()
        if not there:
            break
        yield Item(name=name, path=path, image=image, frame=number, frames_per_second=rate)
        number += 1
    if not number:
        problem = (
            f'The video {path} has no frame that can be read: copy it again, or write it as an '
            'MP4 with H.264.'
        )
        yield Item(name=name, path=path, problem=UserError(problem))
    elif number < SURE * (told := video.get(cv2.CAP_PROP_FRAME_COUNT)):
        print_log(
            f'The video {path} ends after {number} frames, and its header tells {told:g}: copy it '
            'again if its end is missing.',
            'current',
            logging.WARNING,
        )


def _count(path: str) -> int:
    """The number of images in a file; that of a video is an estimate."""
    if not _is_video(path):
        return 1
    return max(int(cv2.VideoCapture(path).get(cv2.CAP_PROP_FRAME_COUNT)), 0)


def _from_iterator(inputs: Iterable, channel_order: str) -> Iterator[Item]:
    for number, each in enumerate(inputs):
        if _is_path(each):
            for file in _files(each):
                yield from _of_path(file, f'{number:06d}_{Path(file).stem}')
        else:
            yield Item(name=f'image_{number:06d}', image=_array(each, channel_order))


def _array(given: Any, channel_order: str) -> np.ndarray:
    """The pixels of an array or a PIL image, (H, W, 3) in BGR."""
    if isinstance(given, Image.Image):
        if given.mode not in PIL_MODES:
            raise UserError(
                f'A PIL image has the mode {given.mode!r}, which is none of '
                f'{", ".join(PIL_MODES)}: scale its values to 0 to 255, and convert it to RGB.'
            )
        try:
            image = ImageOps.exif_transpose(given).convert('RGB')  # files are read like this, too
        except OSError as error:  # it is decoded only now
            raise UserError(f'A PIL image cannot be decoded ({error}): fetch it again.') from None
        return np.ascontiguousarray(np.array(image)[..., ::-1])
    if not isinstance(given, np.ndarray):
        raise UserError(
            f'An image is given as {type(given).__name__}: give a path, an array (height, width, '
            '3) of numpy with values from 0 to 255, or a PIL image.'
        )
    problem = array_problem(given, (3,))
    if problem:
        raise UserError(
            f'An image given as an array {problem.replace("BGR", channel_order.upper())}.'
        )
    return np.ascontiguousarray(given[..., ::-1]) if channel_order == 'rgb' else given
