"""One file with the planes of all panoptic PNGs of an annotation file, which reads faster.

A plane is kept as its distinct ids and its runs (``planes.PlaneRuns``), compressed by zlib. What
the ids mean stays in the annotation file, which may change without the PNGs.

The file begins with ``MAGIC`` and the place of its table. Then come the planes, and at the end the
table, a JSON: for the name of each PNG the place, length and checksum (CRC-32) of its plane, and
the size and the time of change of the PNG. Numbers are little-endian.
"""

import json
import os
import os.path as osp
import signal
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from cmt_deeplab.coco_format import path_below, read_id_plane
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.planes import PlaneRuns
from cmt_deeplab.whole_file import whole_file

MAGIC = b'planes 1'
HEADER = struct.Struct('<8sQ')
COUNTS = struct.Struct('<3I')  # height, width, distinct ids
NUMBER = '<u4'
CHUNK = 32  # PNGs that a process takes at a time
REMEDY = 'write it by tools/misc/cache_planes.py'
UNREADABLE = OSError, ValueError, struct.error, zlib.error


def default_place(ann_file: str) -> str:
    """The file of planes beside an annotation file."""
    return f'{osp.splitext(ann_file)[0]}.planes'


def plane_file(dataset: Any) -> str:
    """The file that ``plane_cache`` of a data set asks for."""
    if dataset.plane_cache is True:
        return default_place(dataset.ann_file)
    return osp.join(dataset.data_root or '', dataset.plane_cache)


def write_planes(
    place: str,
    names: Sequence[str],
    folder: str,
    *,
    processes: int | None = None,
    track: Callable[[Iterable], Iterable] = iter,
) -> list[str]:
    """Write the planes of the PNGs ``names`` below ``folder``, but for the faulty ones.

    Returns a sentence on each of these. ``track`` may show the progress.

    Raises:
        MissingFileError: there is no such folder.
        UserError: the file cannot be written.
    """
    if not osp.isdir(folder):
        raise MissingFileError(
            f'There is no folder {folder} of panoptic PNGs: name that of the JSON by --png-dir.'
        )
    pack, table, faults = partial(_packed, folder=folder), {}, []
    ignore = dict(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
    with (
        whole_file(place) as part,
        open(part, 'wb') as file,
        ProcessPoolExecutor(processes, **ignore) as pool,
    ):
        file.write(HEADER.pack(MAGIC, 0))
        for name, packed in zip(names, track(pool.map(pack, names, chunksize=CHUNK))):
            if isinstance(packed, str):
                faults.append(packed)
            else:
                stamp, data = packed
                table[name] = file.tell(), len(data), zlib.crc32(data), *stamp
                file.write(data)
        end = file.tell()
        file.write(zlib.compress(json.dumps(table).encode()))
        file.seek(0)
        file.write(HEADER.pack(MAGIC, end))
    return faults


def _packed(name: str, folder: str) -> tuple[list[int], bytes] | str:
    """The stamp of a PNG and its plane, or what is wrong with it."""
    try:
        path = path_below(folder, name, 'The annotation file')
        stamp = _stamp(path)  # first, so that a change meanwhile is noticed
        runs = PlaneRuns.of(read_id_plane(path))
    except UserError as fault:
        return str(fault)
    numbers = np.concatenate([runs.values, runs.lengths, runs.places]).astype(NUMBER)
    return stamp, zlib.compress(COUNTS.pack(*runs.shape, len(runs.values)) + numbers.tobytes())


def _stamp(path: str) -> list[int]:
    """Size and time of change of a file, in whole seconds, as archives keep it; none without it."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, int(status.st_mtime)]


def find_planes(place: str, records: Sequence[dict], annotations: Mapping[Any, dict]) -> None:
    """Put ``plane_entry``, by which :func:`read_plane` finds its plane, into each record.

    The ``annotations`` by image id have the names of the PNGs.

    Raises:
        MissingFileError: there is no such file of planes.
        UserError: it is no such file, or not of these PNGs as they are now.
    """
    try:
        with open(place, 'rb') as file:
            magic, start = HEADER.unpack(file.read(HEADER.size))
            if magic != MAGIC:
                raise ValueError('it begins otherwise')
            file.seek(start)
            table = json.loads(zlib.decompress(file.read()))
    except FileNotFoundError:
        raise MissingFileError(
            f'There is no file of planes {place}, which plane_cache of the data set asks for: '
            f'{REMEDY}.'
        ) from None
    except UNREADABLE as error:
        raise UserError(f'{place} is no whole file of planes ({error}): {REMEDY}.') from None
    for record in records:
        if record['seg_map_path']:
            name = annotations[record['img_id']]['file_name']
            record['plane_entry'] = place, *table.get(name, ())
            _require_current(record['plane_entry'], record['seg_map_path'])


def _require_current(entry: Sequence, png: str) -> None:
    (place, *found), stamp = entry, _stamp(png)
    if not stamp:
        raise UserError(
            f'{png} is no file on this machine, so nothing tells whether {place} holds it as it '
            'is: put it there, or take plane_cache out of the data set.'
        )
    if found[3:] != stamp:
        raise UserError(f'{place} does not hold {png} as it is now: {REMEDY} again.')


def read_plane(entry: Sequence, png: str) -> PlaneRuns:
    """The ids of a PNG, from the entry of its record.

    Raises:
        UserError: the PNG or the file of planes has changed.
    """
    _require_current(entry, png)
    place, start, length, checksum, *_ = entry
    try:
        with open(place, 'rb', buffering=0) as file:
            file.seek(start)
            data = file.read(length)
        if zlib.crc32(data) != checksum:
            raise ValueError('another plane stands there')
        data = zlib.decompress(data)
        *shape, distinct = COUNTS.unpack_from(data)
        numbers = np.frombuffer(data, NUMBER, offset=COUNTS.size)
        values, (lengths, places) = numbers[:distinct], numbers[distinct:].reshape(2, -1)
        return PlaneRuns(values, places, lengths, shape)
    except UNREADABLE as error:
        raise UserError(
            f'{place} was damaged or changed meanwhile ({error}): {REMEDY} again.'
        ) from None
