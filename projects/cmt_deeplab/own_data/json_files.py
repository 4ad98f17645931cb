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

PANOPTIC = 'coco-panoptic'
KEYS = {  # that a file of the kind has, in this order of preference
    PANOPTIC: ('segments_info', 'annotations'),
    'coco-instances': ('segmentation', 'images', 'annotations'),
    'labelme': ('shapes', 'imagePath'),
    'label-studio': ('original_width', 'original_height'),
    'via': ('shape_attributes', 'region_attributes'),
    'supervisely': ('classTitle', 'geometryType'),
    'datumaro': ('label_id', 'categories', 'items'),
}
OF_IMAGES = 'labelme', 'supervisely'  # a file for each image
KEYPOINTS = 'person_keypoints_'  # files of COCO that hold the instances of one class again


def jsons_by_kind(files: Files) -> dict[str, list[Path]]:
    """The JSONs of each kind, which are searched for keys and not parsed.

    Those of no kind beside some for each image are such ones, empty or damaged.
    """
    folders, by_kind = defaultdict(dict), defaultdict(list)
    for path in files.with_suffix('.json'):
        if not path.name.startswith(KEYPOINTS):
            folders[path.parent][path] = _kind(path)
    for kinds in folders.values():
        beside = next((kind for kind in OF_IMAGES if kind in kinds.values()), None)
        for path, kind in kinds.items():
            by_kind[kind or beside].append(path)
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
