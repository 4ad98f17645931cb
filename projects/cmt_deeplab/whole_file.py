"""Files that are whole or as before, at whatever moment the writing ends."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from mmengine.fileio import LocalBackend, register_backend

from cmt_deeplab.errors import UserError

PART = '.part'  # at the end of the name of a file that is being written


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write to; when it is written, and the disk has it, it takes its place.

    The folder of the file is made where it is missing. What is no file, such as a pipe or a name in
    /dev, is written to directly.

    Raises:
        UserError: the file cannot be written. What was there stays.
    """
    place = Path(path)
    beside = place.parent != Path('/dev') and (place.is_file() or not place.exists())
    part = place.with_name(f'{place.name}.{uuid4().hex}{PART}') if beside else place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if beside:
            with open(part, 'rb') as file:
                os.fsync(file.fileno())
            os.replace(part, place)
            _keep_name(place)
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror or error}), and what was there stays: make '
            'room, correct the permissions, or name another folder.'
        ) from error
    finally:
        if beside:
            with suppress(OSError):
                part.unlink(missing_ok=True)


def write_json(path: str | Path, content: Any) -> None:
    """Write a JSON that is whole or as before."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content), encoding='utf-8')


def _keep_name(path: Path) -> None:
    """Wait until the disk has the new name too; some file systems refuse this for a folder."""
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@register_backend('local', force=True, prefixes='')
class WholeFileBackend(LocalBackend):
    """In place of mmengine's backend for local files, by which it writes checkpoints and dumps."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with whole_file(filepath) as part:
            part.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self.put(obj.encode(encoding), filepath)
