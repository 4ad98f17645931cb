"""Where a situation takes place: small data, a trained model, and the routes of a user."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np

# The data set takes the classes of its annotation file, as one of a user's own data does.
TINY = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
SHORT = """
_base_ = {base!r}
train_dataloader = dict(
    batch_size={batch}, num_workers=0, persistent_workers=False,
    dataset=dict(type='PanopticIndexDataset'))
val_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(type='PanopticIndexDataset'))
test_dataloader = val_dataloader
train_cfg = dict(max_iters={iterations}, val_interval={iterations})
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(interval={iterations}, max_keep_ckpts=-1))
randomness = dict(seed=1)
"""
ANNOTATIONS = 'data/shapes/annotations/panoptic_{}2017'


@dataclass
class Place:
    """A folder of its own, in which one situation takes place.

    ``Place.steps`` counts the steps of training that this process takes.

    Attributes:
        checkout: the repository whose code runs.
        folder: the working directory, with ``data/shapes`` in it.
        checkpoint: weights of the tiny model, trained on the scenes of ``data/shapes``.
        known: the figures of these weights on the unchanged data.
    """

    checkout: Path
    folder: Path
    checkpoint: Path
    known: dict
    steps: ClassVar[int] = 0

    def file(self, split: str) -> Path:
        """The annotation file of ``train`` or ``val``."""
        return self.folder / (ANNOTATIONS.format(split) + '.json')

    def pngs(self, split: str) -> Path:
        return self.folder / ANNOTATIONS.format(split)

    def images(self, split: str) -> list[Path]:
        return sorted((self.folder / f'data/shapes/{split}2017').glob('*.png'))

    def content(self, split: str) -> dict:
        return json.loads(self.file(split).read_text())

    def edit(self, change: Callable[[dict], Any], *splits: str) -> None:
        """Change the annotation file of both splits, or of those given, in place."""
        for split in splits or ('train', 'val'):
            content = self.content(split)
            change(content)
            self.file(split).write_text(json.dumps(content))

    def config(self, text: str = '', *, iterations: int = 2, batch: int = 2) -> Path:
        """A leaf with ``text``, whose base is the tiny config made short."""
        number = len(list(self.folder.glob('leaf*.py')))
        short = self.folder / f'short{number}.py'
        base = str(self.checkout / TINY)
        short.write_text(SHORT.format(base=base, iterations=iterations, batch=batch))
        leaf = self.folder / f'leaf{number}.py'
        leaf.write_text(f'_base_ = {str(short)!r}\n{text}')
        return leaf

    @property
    def centers(self) -> str:
        """The key of the transformer decoder for the number of centers, which had another name."""
        old = 'num_centers'.replace('er', 're')
        model = (self.checkout / 'configs/_base_/models/cmt-deeplab_tiny.py').read_text()
        return old if old in model else 'num_centers'

    def tool(self, name: str, *arguments: Any) -> None:
        """Run a program of the checkout as the command line does, in a state as at its start."""
        forget_runs()
        sys.argv = [str(self.checkout / name), *map(str, arguments)]
        runpy.run_path(sys.argv[0], run_name='__main__')

    def train(
        self, text: str | Path = '', *arguments: Any, work: str = 'work', **short: int
    ) -> dict:
        """Train by tools/train.py; the logged values, each key's last one."""
        config = text if isinstance(text, Path) else self.config(text, **short)
        self.tool('tools/train.py', config, '--work-dir', work, *arguments)
        return self.logged(work)

    def test(
        self, text: str = '', *arguments: Any, checkpoint: Path | None = None, work: str = 'tested'
    ) -> dict:
        """Test the trained model by tools/test.py; the figures by name, PQ among them."""
        weights = checkpoint or self.checkpoint
        self.tool('tools/test.py', self.config(text), weights, '--work-dir', work, *arguments)
        return self.logged(work)

    def logged(self, work: str) -> dict:
        """What the newest run in a work dir has logged: each key's last value, PQ in short."""
        runs = sorted(path for path in (self.folder / work).iterdir() if path.is_dir())
        values = {}
        for path in sorted(runs[-1].rglob('*.json')):
            for line in path.read_text().splitlines():
                values.update(json.loads(line))
        return {key.removeprefix('coco_panoptic/'): value for key, value in values.items()}

    def log(self, work: str) -> str:
        """The text log of the newest run in a work dir."""
        return sorted((self.folder / work).glob('*/*.log'))[-1].read_text()

    def evaluate(self, truth: str = 'val', predicted: str = 'val', *options: str) -> dict:
        """Score one annotation file and its PNGs against another; percentages by class kind."""
        paths = [self.file(truth), self.pngs(truth), self.file(predicted), self.pngs(predicted)]
        output = self.folder / 'figures.json'
        name = 'tools/analysis_tools/evaluate_panoptic.py'
        self.tool(name, *paths, '--json', output, *options)
        figures = json.loads(output.read_text())
        return {kind: 100 * figures[kind]['pq'] for kind in ('All', 'Things', 'Stuff')}

    def copy_truth(self, split: str = 'val', name: str = 'pred') -> None:
        """The annotation file and PNGs of a split once more, as a prediction."""
        shutil.copy(self.file(split), self.file(name))
        shutil.copytree(self.pngs(split), self.pngs(name))

    def detector(self, text: str = '', checkpoint: Path | None = None):
        from mmdet.apis import init_detector

        weights = str(checkpoint or self.checkpoint)
        return init_detector(str(self.config(text)), weights, device='cpu')

    def inferencer(self, text: str = '', checkpoint: Path | None = None):
        from mmdet.apis import DetInferencer

        return DetInferencer(
            model=str(self.config(text)),
            weights=str(checkpoint or self.checkpoint),
            device='cpu',
            show_progress=False,
        )

    def image(self, index: int = 0, split: str = 'val') -> np.ndarray:
        """(H, W, 3) uint8 in OpenCV's order."""
        return cv2.imread(str(self.images(split)[index]))


def forget_runs() -> None:
    """Forget what mmengine keeps by name for the whole process, as the folder of the log."""
    from mmdet.registry import VISUALIZERS
    from mmengine.logging import MessageHub, MMLogger
    from mmengine.registry import VISUALIZERS as ROOT_VISUALIZERS

    kept = {*VISUALIZERS.module_dict.values(), *ROOT_VISUALIZERS.module_dict.values()}
    for kind in (MessageHub, MMLogger, *kept):
        kind._instance_dict.clear()


def ids_of(path: Path) -> np.ndarray:
    """The segment ids (H, W) of a panoptic PNG."""
    blue, green, red = np.moveaxis(cv2.imread(str(path)).astype(np.int64), -1, 0)
    return red + 256 * green + 65536 * blue


def write_ids(path: Path, ids: np.ndarray) -> None:
    colors = np.stack([ids >> 16, (ids >> 8) & 255, ids & 255], -1)
    cv2.imwrite(str(path), colors.astype(np.uint8))
