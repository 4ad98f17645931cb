"""Annotation files in JSON: which kind a file is, and what it must hold."""

import json
import mmap
from collections import defaultdict
from pathlib import Path
from typing import Any

from cmt_deeplab.errors import UserError
from cmt_deeplab.whole_file import whole_file

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

    Where the first one of a folder is of LabelMe, all are taken for it.
    """
    by_kind, of_labelme = defaultdict(list), set()
    for path in files.with_suffix('.json'):
        kind = LABELME if path.parent in of_labelme else _kind(path)
        if kind == LABELME:
            of_labelme.add(path.parent)
        by_kind[kind].append(path)
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


def required(entry: Any, key: str, path: Path) -> Any:
    """The value of a key that an entry of the file ``path`` must have.

    Raises:
        UserError: the entry is no dictionary or lacks the key.
    """
    if not isinstance(entry, dict) or entry.get(key) is None:
        raise UserError(f'{path} has an entry without "{key}" ({entry!r:.80}): export it again.')
    return entry[key]


def write_json(path: Path, content: Any) -> None:
    """Write a JSON that is whole or as before."""
    with whole_file(path) as part:
        part.write_text(json.dumps(content), encoding='utf-8')
