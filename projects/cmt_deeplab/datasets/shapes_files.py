"""Writing generated scenes in the folder layout of COCO panoptic."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from cmt_deeplab.coco_format import colors_of_ids
from cmt_deeplab.errors import UserError

from .shape_forms import categories
from .shapes import PRESETS, ShapesPreset, scenes

SPLITS = ('train', 'val')


def shapes_preset(name: str, *, size: int | None = None) -> ShapesPreset:
    """A preset by name, at another side length if ``size`` is given.

    Raises:
        ValueError: if there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f'There is no preset {name!r}: choose one of {", ".join(sorted(PRESETS))}.')
    return PRESETS[name] if size is None else replace(PRESETS[name], size=size)


def write_shapes(
    root: str | Path,
    *,
    preset: str | ShapesPreset = 'quick',
    num_train: int = 1000,
    num_val: int = 100,
    seed: int = 0,
    size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write ``{train,val}2017/*.png`` and ``annotations/panoptic_{train,val}2017{.json,/*.png}`` under ``root``.

    The two splits share no scene. ``progress(done, total)`` is called after each image. An existing data set made by the same call is left
    as it is, any other is overwritten.
    """
    preset = (
        shapes_preset(preset, size=size)
        if isinstance(preset, str)
        else (preset if size is None else replace(preset, size=size))
    )
    root, done, total = Path(root), 0, num_train + num_val
    for split, number in enumerate((num_train, num_val)):
        name = f'{SPLITS[split]}2017'
        annotation_file = root / 'annotations' / f'panoptic_{name}.json'
        settings = json.loads(json.dumps(asdict(preset)))  # as it reads back: tuples become lists
        recipe = dict(
            generator='cmt_deeplab shapes 1', seed=seed, split=split, number=number, preset=settings
        )
        if _made_by(annotation_file) == recipe:
            done += number
            if progress:
                progress(done, total)
            continue
        image_folder, plane_folder = root / name, root / 'annotations' / f'panoptic_{name}'
        for folder in (image_folder, plane_folder):
            folder.mkdir(parents=True, exist_ok=True)
        images, annotations = [], []
        for i, scene in enumerate(scenes(preset, number=number, seed=seed, split=split), start=1):
            file_name = f'{i:012d}.png'
            _write_png(image_folder / file_name, scene.image)
            _write_png(plane_folder / file_name, colors_of_ids(scene.ids))
            images.append(dict(id=i, file_name=file_name, height=preset.size, width=preset.size))
            annotations.append(
                dict(image_id=i, file_name=file_name, segments_info=scene.segments_info)
            )
            done += 1
            if progress:
                progress(done, total)
        # The annotation file comes last: it says that the images are complete.
        annotation_file.write_text(
            json.dumps(
                dict(info=recipe, images=images, annotations=annotations, categories=categories())
            )
        )


def _made_by(annotation_file: Path) -> dict | None:
    try:
        return json.loads(annotation_file.read_text()).get('info')
    except (OSError, ValueError, AttributeError):
        return None


def _write_png(path: Path, pixels: np.ndarray) -> None:
    bgr = np.ascontiguousarray(pixels[..., ::-1])
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise UserError(f'{path} cannot be written: check the folder and the free space.')
