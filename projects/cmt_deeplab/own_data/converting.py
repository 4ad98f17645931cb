"""Writing the truth of any layout as COCO panoptic JSONs and PNGs; the images stay in place."""

import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cmt_deeplab.coco_format import check_num_classes, colors_of_ids
from cmt_deeplab.errors import UserError
from cmt_deeplab.image_file import check_image_file
from cmt_deeplab.whole_file import write_json

from .annotated import AnnotatedImage, Layout, panoptic_segments
from .files import STATE, counted, named
from .json_files import read_json
from .panoptic_folder import PanopticSplit

PNGS = 'panoptic'


@dataclass(frozen=True)
class Converted:
    """The entries of an image and of its annotation in a panoptic JSON."""

    image: dict
    annotation: dict
    split: str | None = None
    hidden: int = 0  # segments that others cover

    @property
    def categories(self) -> set[int]:
        return {segment['category_id'] for segment in self.annotation['segments_info']}


class Target:
    """The folder to convert into; ``recipe`` holds everything that the result depends on.

    The file ``STATE`` in it holds the recipe and the result, which is written last.

    Raises:
        UserError: the folder holds other files.
    """

    def __init__(self, folder: Path, recipe: dict) -> None:
        self.folder, self.recipe = folder, recipe
        self.state = read_json(folder / STATE) if (folder / STATE).is_file() else {}
        if not self.state and folder.is_dir() and any(folder.iterdir()):
            raise UserError(
                f'{folder} holds files of another origin: name another folder to convert into.'
            )

    def made(self) -> tuple[dict[str, PanopticSplit], list[str]] | None:
        """The splits and notes of an earlier call, if it was finished."""
        if 'splits' not in self.state:
            return None
        stored = self.state['splits'].items()
        splits = {name: PanopticSplit(name, *map(Path, paths)) for name, paths in stored}
        return splits, self.state['notes']

    def begin(self) -> None:
        """Remove what an earlier call has made."""
        for name in (PNGS, 'images'):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        write_json(self.folder / STATE, dict(recipe=self.recipe))

    def finish(self, splits: dict[str, PanopticSplit], notes: Sequence[str]) -> None:
        stored = {
            name: [str(path) for path in (split.ann_file, split.img_dir, split.seg_dir)]
            for name, split in splits.items()
        }
        write_json(self.folder / STATE, dict(recipe=self.recipe, splits=stored, notes=list(notes)))


def convert(
    layout: Layout,
    kinds: dict[str, bool],
    background: str | None,
    out: Path,
    progress: Callable[[int, int], None],
) -> tuple[list[Converted], Path]:
    """Write the PNGs; the entries of the images, and the folder that their names start from.

    Raises:
        UserError: images or annotations are faulty; the first one is named.
    """
    check_num_classes(len(kinds), 'The data')
    base = Path(os.path.commonpath([image.path.parent for image in layout.images]))
    pngs = _png_names(layout.images, base)

    def of_image(number: int, image: AnnotatedImage) -> Converted | UserError:
        try:
            size = check_image_file(str(image.path)).size_read(turning=True)
            ids, segments, hidden = panoptic_segments(image.read(size), kinds, background)
        except UserError as error:
            return error
        file = out / PNGS / pngs[image.path]
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(colors_of_ids(ids)).save(file, compress_level=1)
        name = image.path.relative_to(base).as_posix()
        return Converted(
            dict(id=number, file_name=name, height=size[0], width=size[1]),
            dict(image_id=number, file_name=pngs[image.path], segments_info=segments),
            image.split,
            hidden,
        )

    done, faults = [], []
    with ThreadPoolExecutor() as pool:
        for result in pool.map(of_image, range(1, len(layout.images) + 1), layout.images):
            (faults if isinstance(result, UserError) else done).append(result)
            progress(len(done) + len(faults), len(layout.images))
    if faults:
        more = f' ({len(faults)} images have such faults; this is the first.)' * (len(faults) > 1)
        raise UserError(f'{faults[0]}{more}')
    return done, base


def _png_names(images: Sequence[AnnotatedImage], base: Path) -> dict[Path, str]:
    """The PNG of each image; for a.jpg and a.png in one folder, the second is a.png.png."""
    names, taken = {}, set()
    for image in images:
        name = image.path.relative_to(base)
        short = name.with_suffix('.png').as_posix()
        names[image.path] = f'{name.as_posix()}.png' if short in taken else short
        taken.add(names[image.path])
    return names


def categories_of(kinds: dict[str, bool]) -> list[dict]:
    """The "categories" of a JSON, whose ids are the places in ``kinds``, from 1."""
    return [dict(id=k, name=n, isthing=int(kinds[n])) for k, n in enumerate(kinds, start=1)]


def write_split(file: Path, images: Sequence[Converted], categories: list[dict]) -> None:
    """Write the JSON of a split."""
    content = dict(
        images=[image.image for image in images],
        annotations=[image.annotation for image in images],
        categories=categories,
    )
    write_json(file, content)


def drawn_for_validation(names: Sequence[set[str]], share: float, seed: int) -> set[int]:
    """Draw the images to hold out, given the classes of each image.

    An image that alone shows a class is kept for training, unless this is so for every image.
    """
    wanted = min(max(round(share * len(names)), 1), len(names) - 1) if share else 0
    left = {name: sum(name in of_image for of_image in names) for name in set().union(*names)}
    order, held = np.random.default_rng(seed).permutation(len(names)).tolist(), set()
    for k in order:
        if len(held) < wanted and all(left[name] > 1 for name in names[k]):
            held.add(k)
            for name in names[k]:
                left[name] -= 1
    return held or set(order[:1] if wanted > 0 else ())


def write_splits(
    images: Sequence[Converted],
    categories: list[dict],
    folders: tuple[Path, Path],
    out: Path,
    *,
    val_share: float,
    seed: int,
    notes: list[str],
) -> dict[str, PanopticSplit]:
    """Write the JSONs of training and validation; ``folders`` are those of images and of PNGs.

    If there is no validation set, some of the training images are drawn for it. A test set is left
    out, unless there is nothing else.
    """
    train = [image for image in images if image.split in (None, 'train')] or images
    val = [i for i in images if i.split == 'val'] if len(train) < len(images) else []
    how = 'as the folders say'
    if not val:
        held = drawn_for_validation([image.categories for image in train], val_share, seed)
        val, how = [train[k] for k in sorted(held)], f'drawn with the seed {seed}'
        train = [image for k, image in enumerate(train) if k not in held]
    notes.append(
        f'For training: {counted(len(train), "image")}; for validation: {len(val)} ({how}).'
    )
    if rest := len(images) - len(train) - len(val):
        notes.append(f'Left out, as they are a test set: {counted(rest, "image")}.')
    splits = {}
    for name, chosen in (('train', train), ('val', val)):
        if chosen:
            splits[name] = PanopticSplit(name, out / f'{name}.json', *folders)
            write_split(splits[name].ann_file, chosen, categories)
    return splits


def leaving_out_empty(images: list[Converted], notes: list[str]) -> list[Converted]:
    """The images that have a segment; a note tells what is left out or hidden."""
    full = [image for image in images if image.categories]
    if len(full) < len(images):
        empty = [Path(image.image['file_name']) for image in images if not image.categories]
        which = counted(len(empty), 'image')
        notes.append(f'Left out, as nothing is annotated in it: {which} ({named(empty)}).')
    if hidden := sum(image.hidden for image in full):
        which = counted(hidden, 'segment')
        notes.append(f'Left out, as it lies under others or outside of its image: {which}.')
    return full
