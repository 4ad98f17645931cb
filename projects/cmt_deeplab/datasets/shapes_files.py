"""Generated scenes in the folder layout of COCO panoptic: their data set, and writing them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from mmdet.registry import DATASETS
from mmengine.fileio import dump

from cmt_deeplab.categories import complete_metainfo
from cmt_deeplab.coco_format import colors_of_ids
from cmt_deeplab.errors import UserError

from .panoptic_index_dataset import PanopticIndexDataset
from .shape_forms import STUFF_CLASSES, THING_CLASSES
from .shapes import PRESETS, ShapesPreset, scenes


@DATASETS.register_module()
class ShapesPanopticDataset(PanopticIndexDataset):
    """The generated scenes that ``tools/misc/make_shapes.py`` writes."""

    METAINFO = complete_metainfo(dict(thing_classes=THING_CLASSES, stuff_classes=STUFF_CLASSES))


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

    The two splits share no scene. ``progress(done, total)`` is called after each image. What the
    same call has made is left as it is, and what it has begun is made again.

    Raises:
        UserError: ``root`` holds other files in these places, which stay.
    """
    settings = shapes_preset(preset, size=size)
    splits = []
    for split, (name, number) in enumerate(dict(train=num_train, val=num_val).items()):
        recipe = dict(
            generator='cmt_deeplab shapes 1',
            seed=seed,
            split=split,
            number=number,
            preset=json.loads(json.dumps(asdict(settings))),  # as it reads back, without tuples
        )
        splits.append(_Split(Path(root), f'{name}2017', recipe))
    for split in splits:
        split.refuse_others()
    done, total = 0, num_train + num_val
    for split in splits:
        for _ in split.write(settings):
            done += 1
            progress(done, total)


@dataclass(frozen=True)
class _Split:
    """The files of a split, and ``recipe``, which tells what is in them."""

    root: Path
    name: str
    recipe: dict

    @property
    def planes(self) -> Path:
        return self.root / f'annotations/panoptic_{self.name}'

    @property
    def annotation_file(self) -> Path:
        return self.planes.with_suffix('.json')

    @property
    def begun(self) -> Path:
        """Holds the recipe from the first image on until the annotation file is whole."""
        return self.planes.with_suffix('.begun.json')

    def refuse_others(self) -> None:
        """Raise a :class:`UserError` where files of another origin would be lost."""
        file = self.annotation_file
        if _recipe(file if file.exists() else self.begun) == self.recipe:
            return
        for path in (file, *(self.root / self.name).glob('*'), *self.planes.glob('*')):
            if path.exists():
                raise UserError(
                    f'{path} is not of this call (its preset, numbers, size and seed): generate '
                    f'into another folder than {self.root}, or remove what it holds.'
                )

    def write(self, settings: ShapesPreset) -> Iterator[None]:
        """Make the scenes, one a step, unless all are there."""
        seed, split, number = (self.recipe[key] for key in ('seed', 'split', 'number'))
        if _recipe(self.annotation_file) == self.recipe:
            yield from [None] * number
            return
        content = dict(info=self.recipe, images=[], annotations=[], categories=settings.categories)
        for folder in (self.root / self.name, self.planes):
            folder.mkdir(parents=True, exist_ok=True)
        dump(dict(info=self.recipe), self.begun)
        for i, scene in enumerate(scenes(settings, number=number, seed=seed, split=split), start=1):
            file_name, side = f'{i:012d}.png', settings.size
            _write_png(self.root / self.name / file_name, scene.image)
            _write_png(self.planes / file_name, colors_of_ids(scene.ids))
            content['images'].append(dict(id=i, file_name=file_name, height=side, width=side))
            content['annotations'].append(
                dict(image_id=i, file_name=file_name, segments_info=scene.segments_info)
            )
            yield
        # The annotation file comes last: it says that the images are complete.
        dump(content, self.annotation_file)
        self.begun.unlink()


def _recipe(file: Path) -> dict | None:
    try:
        return json.loads(file.read_text()).get('info')
    except (OSError, ValueError, AttributeError):
        return None


def _write_png(path: Path, rgb: np.ndarray) -> None:
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    if not cv2.imwrite(str(path), bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1]):
        raise UserError(f'{path} cannot be written: check the folder and the free space.')
