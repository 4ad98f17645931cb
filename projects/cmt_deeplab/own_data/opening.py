"""Opening a folder of annotated images: its layout is found by looking at the files."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmt_deeplab.errors import UserError
from cmt_deeplab.panoptic_json import read_panoptic_json

from .annotated import Layout
from .class_names import BACKGROUND, class_list, decide_kinds, stuff_names
from .coco_panoptic import find_coco_panoptic
from .converting import (
    PNGS,
    Converted,
    Target,
    categories_of,
    convert,
    leaving_out_empty,
    write_splits,
)
from .files import IMAGES, STATE, Files, counted
from .json_files import PANOPTIC, jsons_by_kind
from .layouts import JSONS, OTHERS
from .panoptic_folder import PanopticFolder, PanopticSplit

LAYOUTS = (PANOPTIC, *JSONS, *OTHERS)
FOREIGN = {  # names of files of other data sets, with the data set and what to do
    r'objectInfo150\.txt': 'ADE20K: convert it by tools/dataset_converters/ade20k_panoptic.py',
    r'.*_gtFine_labelIds\.png': 'Cityscapes: convert it by tools/dataset_converters/'
    'cityscapes_panoptic.py',
    r'task-\d+-annotation-.*\.png': "Label Studio's PNGs, which do not name images: export JSON",
}
AUTO, VOID = 'auto', 'void'
VERSION = 4  # of the written files; those of another version are written again


def open_data(
    path: str | Path,
    *,
    out: str | Path | None = None,
    stuff: str | Sequence[str] | None = None,
    ask: Callable[[Sequence[str]], Sequence[str]] | None = None,
    val_share: float = 0.2,
    seed: int = 0,
    background: str = AUTO,
    layout: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PanopticFolder:
    """The data in the folder ``path`` in the COCO panoptic format; all paths are absolute.

    COCO panoptic data are used where they lie. Of another layout, JSONs and PNGs are written below
    ``out``, and the images stay where they are; a second call with the same files and arguments
    takes what the first one has written. docs/own_data.md describes the layouts.

    Args:
        out: the folder to write into. By default it is one in ``work_dirs/own_data`` for this
            state of the files and these arguments, which no later call changes.
        stuff: the classes that are stuff: names, or one text with commas between them, or 'none'.
            By default the data tell it.
        ask: is called with the names of the classes if the data cannot tell it, and returns those
            of stuff.
        val_share: the share of images that are held out for validation if the folders name no
            validation set.
        seed: of the draw of these images.
        background: the stuff class of pixels that no mask covers, or 'void'; 'auto' is void where
            the data have stuff, and otherwise the class 'background'.
        layout: one of ``LAYOUTS``; by default all are tried.
        progress: called with the number of finished images and that of all images.

    Raises:
        MissingFileError: the folder, or a file that an annotation file names, does not exist.
        UserError: no layout is found, a file is faulty, or nothing tells which classes are stuff.
    """
    root = Path(os.path.abspath(path))
    if layout is not None and layout not in LAYOUTS:
        raise UserError(f'There is no layout {layout!r}: choose one of {", ".join(LAYOUTS)}.')
    if not 0 <= val_share < 1:
        raise UserError(f'val_share is {val_share}, but it has to be from 0 to less than 1.')
    place, stuff = root.resolve(), stuff_names(stuff)
    files = Files(root)
    jsons, panoptic = jsons_by_kind(files), {}
    if layout in (None, PANOPTIC) and jsons[PANOPTIC]:
        panoptic = find_coco_panoptic(files, jsons[PANOPTIC])
        if stuff is not None or background != AUTO:
            raise UserError(
                f'{jsons[PANOPTIC][0]} says itself what is stuff ("isthing" of its categories) and '
                'what is void: leave --stuff and --background out, or change it there.'
            )
        if 'train' in panoptic and ('val' in panoptic or not val_share):
            names = ' and '.join(
                panoptic[s].ann_file.name for s in ('train', 'val') if s in panoptic
            )
            notes = (f'{root} holds COCO panoptic data, {names}, which are used in place.',)
            return PanopticFolder(root, panoptic['train'], panoptic.get('val'), notes)
    if (root / STATE).is_file() and (made := Target(root, {}).made()):  # what this has written
        return PanopticFolder(root, made[0]['train'], made[0].get('val'), tuple(made[1]))
    options = dict(stuff=stuff, background=background, layout=layout)
    draw = dict(val_share=val_share, seed=seed)
    recipe = dict(version=VERSION, root=str(place), files=files.fingerprint(), **options, **draw)
    if not out:  # of this state of the files, so that no training loses the one it reads
        code = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:8]
        out = f'work_dirs/own_data/{place.name}-{code}'
    out = Path(os.path.abspath(out))
    files.extracted = out / 'images'
    target = Target(out, recipe)
    made = target.made() if target.state.get('recipe') == recipe else None
    if made is None:
        target.begin()
        if panoptic:
            made = _split_json(panoptic, out, **draw)
        else:
            made = _convert(files, jsons, out, **options, **draw, ask=ask, progress=progress)
        target.finish(*made)
    splits, notes = made
    return PanopticFolder(root, splits['train'], splits.get('val'), tuple(notes))


def _find(files: Files, jsons: Mapping[str, list[Path]], wanted: str | None) -> Layout:
    for name, find in JSONS.items():
        if wanted in (None, name) and jsons[name]:
            return find(files, jsons[name])
    for path in files.paths if wanted is None else ():
        for pattern, remedy in FOREIGN.items():
            if re.fullmatch(pattern, path.name):
                raise UserError(f'{path} is a part of {remedy}.')
    for name, find in OTHERS.items():
        if wanted in (None, name) and (layout := find(files)):
            return layout
    of_files = ' '.join(sorted({path.suffix for path in files.paths} - {'', *IMAGES}))
    known = f'nothing of the layout {wanted}' if wanted else 'no annotations that are known'
    raise UserError(
        f'{files.root} has {counted(len(files.images), "image")} and {known}'
        f'{" in its files " * bool(of_files)}{of_files}: put masks, each called like its image, '
        'into a folder masks beside the folder images, or see docs/own_data.md for the other '
        'layouts; boxes do not suffice.'
    )


def _convert(
    files: Files,
    jsons: Mapping[str, list[Path]],
    out: Path,
    *,
    stuff: list[str] | None,
    ask: Callable | None,
    background: str,
    layout: str | None,
    progress: Callable[[int, int], None],
    **draw: Any,
) -> tuple[dict[str, PanopticSplit], list[str]]:
    found = _find(files, jsons, layout)
    kinds = decide_kinds(found.classes, stuff, ask)
    if background == AUTO:
        background = BACKGROUND if all(kinds.values()) else VOID
    if background == VOID:
        background = None
    elif kinds.setdefault(background, False):
        raise UserError(f'The background {background!r} is a class of things: take another name.')
    images, base = convert(found, kinds, background, out, progress)
    used = set().union(*(image.categories for image in images))
    if background and background not in found.classes and len(kinds) not in used:
        del kinds[background]  # the last one; masks cover every pixel
        background = None
    notes = [f'{files.root} holds {found.found}.', _told(kinds, background), *found.notes]
    images = leaving_out_empty(images, notes)
    categories = categories_of(kinds)
    if not used - {c['id'] for c in categories if c['name'] == background}:
        raise UserError(
            f'{files.root} holds {found.found}, but nothing is marked in any of them: check the '
            'annotations.'
        )
    return write_splits(images, categories, (base, out / PNGS), out, **draw, notes=notes), notes


def _told(kinds: dict[str, bool], background: str | None) -> str:
    things, stuff = ([n for n in kinds if kinds[n] is kind] for kind in (True, False))
    rest = f'are {background!r}' if background else 'are void'
    return (
        f'Things: {class_list(things)}; stuff: {class_list(stuff)}; pixels '
        f'without a segment {rest}.'
    )


def _split_json(
    panoptic: dict[str, PanopticSplit], out: Path, **draw: Any
) -> tuple[dict[str, PanopticSplit], list[str]]:
    """Draw both splits from a single panoptic JSON; its PNGs stay in place."""
    whole = panoptic.get('train') or next(iter(panoptic.values()))
    content = read_panoptic_json(str(whole.ann_file), needs=('images', 'categories', 'annotations'))
    of_images = {entry['image_id']: entry for entry in content['annotations']}
    images = [Converted(i, of_images[i['id']]) for i in content['images'] if i['id'] in of_images]
    notes = [f'{whole.ann_file} is a COCO panoptic JSON; its PNGs and images are used in place.']
    folders = whole.img_dir, whole.seg_dir
    return write_splits(images, content['categories'], folders, out, **draw, notes=notes), notes
