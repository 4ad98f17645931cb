"""What the converters of public data sets share: writing a split as COCO panoptic JSON and PNGs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.own_data.annotated import AnnotatedImage, Layout
from cmt_deeplab.own_data.converting import PNGS, categories_of, convert, write_split
from rich.progress import Progress


def files_in(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that must have some, in the order of their names."""
    found = sorted(folder.glob(pattern))
    if not found:
        raise MissingFileError(
            f'There is no file {folder}/{pattern}: correct the path of the data.'
        )
    return found


def require_new(json_file: Path) -> None:
    """Refuse to write over an annotation file or its PNGs."""
    for path in (json_file, json_file.with_suffix('')):
        if path.exists():
            raise UserError(f'{path} exists already: remove it to convert again.')


def write_panoptic(
    images: Sequence[AnnotatedImage], kinds: Mapping[str, bool], json_file: Path, img_dir: Path
) -> None:
    """Write ``json_file`` and its PNGs, in a folder of the same name.

    ``kinds`` tells of each class whether it is a thing; the names of images start from ``img_dir``.
    """
    require_new(json_file)
    layout = Layout('', list(images), dict(kinds))
    with (
        Progress() as bar,
        TemporaryDirectory(dir=json_file.parent, prefix=f'{json_file.stem}-') as temporary,
    ):
        task, out = bar.add_task(json_file.name, total=len(images)), Path(temporary)
        show = lambda done, total: bar.update(task, completed=done)  # noqa: E731
        converted, base = convert(layout, dict(kinds), None, out, show)
        for image in converted:
            place = (base / image.image['file_name']).relative_to(img_dir)
            image.image['file_name'] = place.as_posix()
        write_split(out / json_file.name, converted, categories_of(dict(kinds)))
        os.replace(out / PNGS, json_file.with_suffix(''))
        os.replace(out / json_file.name, json_file)
    segments = sum(len(image.annotation['segments_info']) for image in converted)
    print(f'{json_file}: {len(converted)} images, {segments} segments, {len(kinds)} classes.')
