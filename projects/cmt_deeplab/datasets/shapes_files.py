"""Writing generated scenes in the folder layout of COCO panoptic."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from cmt_deeplab.coco_format import colors_of_ids
from cmt_deeplab.errors import UserError

from .shape_forms import CATEGORIES
from .shapes import PRESETS, ShapesPreset, scenes


def shapes_preset(name: str, *, size: int | None = None) -> ShapesPreset:
    """A preset by name, at another side length if ``size`` is given.

    Raises:
        UserError: there is no such preset.
    """
    if name not in PRESETS:
        raise UserError(f'There is no preset {name!r}: choose one of {", ".join(sorted(PRESETS))}.')
    return PRESETS[name] if size is None else replace(PRESETS[name], size=size)


def write_shapes(
    root: str | Path,
    *,
    preset: str = 'quick',
    num_train: int = 1000,
    num_val: int = 100,
    seed: int = 0,
    size: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write ``{train,val}2017/*.png`` and ``annotations/panoptic_{train,val}2017{.json,/*.png}``.

    The two splits share no scene. ``progress(done, total)`` is called after each image. A data set
    that the same call has made is left as it is, any other is overwritten.
    """
    settings = shapes_preset(preset, size=size)
    done, total = 0, num_train + num_val
    for split, (name, number) in enumerate(dict(train=num_train, val=num_val).items()):
        images, planes = Path(root) / f'{name}2017', Path(root) / f'annotations/panoptic_{name}2017'
        annotation_file = planes.with_suffix('.json')
        recipe = dict(
            generator='cmt_deeplab shapes 1',
            seed=seed,
            split=split,
            number=number,
            preset=json.loads(json.dumps(asdict(settings))),  # as it reads back, without tuples
        )
        content = dict(info=recipe, images=[], annotations=[], categories=CATEGORIES)
        if _made_by(annotation_file) == recipe:
            done += number
            progress(done, total)
            continue
        for folder in (images, planes):
            folder.mkdir(parents=True, exist_ok=True)
        for i, scene in enumerate(scenes(settings, number=number, seed=seed, split=split), start=1):
            file_name, side = f'{i:012d}.png', settings.size
            _write_png(images / file_name, scene.image)
            _write_png(planes / file_name, colors_of_ids(scene.ids))
            content['images'].append(dict(id=i, file_name=file_name, height=side, width=side))
            content['annotations'].append(
                dict(image_id=i, file_name=file_name, segments_info=scene.segments_info)
            )
            done += 1
            progress(done, total)
        # The annotation file comes last: it says that the images are complete.
        annotation_file.write_text(json.dumps(content))


def _made_by(annotation_file: Path) -> dict | None:
    try:
        return json.loads(annotation_file.read_text()).get('info')
    except (OSError, ValueError, AttributeError):
        return None


def _write_png(path: Path, rgb: np.ndarray) -> None:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise UserError(f'{path} cannot be written: check the folder and the free space.')
