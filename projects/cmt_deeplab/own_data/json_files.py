"""Annotation files in JSON: which kind a file is, and what it must hold."""

import json
import mmap
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmt_deeplab.errors import UserError

from .files import Files

PANOPTIC, INSTANCES, LABELME = 'coco-panoptic', 'coco-instances', 'labelme'
LABEL_STUDIO = 'label-studio'
KEYS = {  # that a file of the kind has, in this order of preference
    PANOPTIC: ('segments_info', 'annotations'),
    INSTANCES: ('segmentation', 'images', 'annotations'),
    LABELME: ('shapes', 'imagePath'),
    LABEL_STUDIO: ('original_width', 'original_height'),
}


def jsons_by_kind(files: Files) -> dict[str, list[Path]]:
    """The JSONs of each kind, which are searched for keys and not parsed.

    Where one of a folder is of LabelMe, so are all of no other kind, which may be damaged.
    """
    folders, by_kind = defaultdict(list), defaultdict(list)
    for path in files.with_suffix('.json'):
        folders[path.parent].append(path)
    for paths in folders.values():
        kinds = {}
        for path in paths:
            kinds[path] = LABELME if LABELME in kinds.values() else _kind(path)
        for path, kind in kinds.items():
            of_labelme = kind is None and LABELME in kinds.values()
            by_kind[LABELME if of_labelme else kind].append(path)
    return by_kind


def _kind(path: Path) -> str | None:
    if not path.stat().st_size:
        return None
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for kind, keys in KEYS.items():
            if all(data.find(f'"{key}"'.encode()) >= 0 for key in keys):
                return kind
    return None


def read_json(path: Path) -> Any:
    """What a JSON holds.

    Raises:
        UserError: it is none.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} cannot be read as JSON ({error}): export it again.') from None


@contextmanager
def interpreting(where: str) -> Iterator[None]:
    """Around what takes values out of an entry of an annotation file, which ``where`` names.

    Raises:
        UserError: the entry does not have the form of its format.
    """
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f'{where} is damaged ({error!r}): export it again.') from error


def required(entry: Any, key: str, path: Path) -> Any:
    """The value of a key that an entry of the file ``path`` must have.

    Raises:
        UserError: the entry is no dictionary or lacks the key.
    """
    if not isinstance(entry, dict) or entry.get(key) is None:
        raise UserError(f'{path} has an entry without "{key}" ({entry!r:.80}): export it again.')
    return entry[key]
