"""Annotation files in JSON: finding out their kind, and reading their entries."""

import json
import mmap
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmt_deeplab.errors import UserError

from .files import Files

PANOPTIC = 'coco-panoptic'
KEYS = {  # keys that every file of a kind has; the first kind that fits is taken
    PANOPTIC: ('segments_info', 'annotations'),
    'coco-instances': ('segmentation', 'images', 'annotations'),
    'labelme': ('shapes', 'imagePath'),
    'label-studio': ('original_width', 'original_height'),
    'via': ('shape_attributes', 'region_attributes'),
    'supervisely': ('classTitle', 'geometryType'),
    'datumaro': ('label_id', 'categories', 'items'),
}
OF_IMAGES = 'labelme', 'supervisely'  # kinds with a file for each image
EMPTY_COCO = 'coco-empty'  # counts beside files with annotations, such as those of other splits
NOTHING_MARKED = re.compile(rb'"annotations"\s*:\s*\[\s*\]')  # in any image of such a file
KEYPOINTS = 'person_keypoints_'  # COCO's files that repeat the instances of one class


def jsons_by_kind(files: Files) -> dict[str, list[Path]]:
    """The JSONs of each kind, which are found by searching for keys, without parsing.

    A JSON of no known kind that lies beside files for each image is taken for one of these, since
    it may be empty or damaged.
    """
    folders, by_kind = defaultdict(dict), defaultdict(list)
    for path in files.with_suffix('.json'):
        if not path.name.startswith(KEYPOINTS):
            folders[path.parent][path] = _kind(path)
    some = any('coco-instances' in kinds.values() for kinds in folders.values())
    for kinds in folders.values():
        beside = next((kind for kind in OF_IMAGES if kind in kinds.values()), None)
        for path, kind in kinds.items():
            if kind == EMPTY_COCO:
                kind = 'coco-instances' if some else None
            by_kind[kind or beside].append(path)
    return by_kind


def _kind(path: Path) -> str | None:
    if not path.stat().st_size:
        return None
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        has = lambda key: data.find(f'"{key}"'.encode()) >= 0
        for kind, keys in KEYS.items():
            if all(map(has, keys)):
                return kind
        coco = has('images') and has('categories') and not has('items')
        return EMPTY_COCO if coco and NOTHING_MARKED.search(data) else None


def read_json(path: Path) -> Any:
    """The content of a JSON.

    Raises:
        UserError: the file is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} cannot be read as JSON ({error}): export it again.') from None


@contextmanager
def interpreting(where: str) -> Iterator[None]:
    """A context for code that reads an entry of an annotation file, which ``where`` names.

    Raises:
        UserError: in place of the errors that an entry of a wrong form causes.
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
