"""mmdet's visualizer with the fast panoptic overlay."""

import os.path as osp
from dataclasses import replace
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import PixelData

from cmt_deeplab.coco_format import map_value
from cmt_deeplab.errors import UserError

from .beside import draw_beside
from .drawer import PanopticDrawer

SIDES = 'gt_panoptic_seg', 'pred_panoptic_seg'


def map_of(panoptic_seg: PixelData | None) -> np.ndarray | None:
    """The map (H, W) of values of ``map_value``, or None of none."""
    if panoptic_seg is None:
        return None
    return torch.as_tensor(panoptic_seg.sem_seg[0]).cpu().numpy()


def crowds_of(sample: DetDataSample) -> list[int]:
    """The values of the true segments of a sample that are crowds."""
    segments = sample.get('gt_segments', {})
    if 'is_crowd' not in segments:
        return []
    labels = segments.labels.cpu()  # a validation on a GPU draws while its truth lies there
    values = map_value(labels, torch.arange(1, len(labels) + 1))
    return values[segments.is_crowd.cpu()].tolist()


def require_window() -> None:
    """Raise a :class:`UserError` where no window can be opened."""
    if plt.get_backend().lower() == 'agg':
        raise UserError(
            'No window can be opened here, as there is no display or no toolkit such as Tk: write '
            'the pictures to files instead (test.py: --show-dir DIR, browse_dataset.py: --not-show '
            '--output-dir DIR).'
        )


@VISUALIZERS.register_module()
class PanopticLocalVisualizer(DetLocalVisualizer):
    """Takes the place of ``DetLocalVisualizer`` and draws panoptic maps with ``PanopticDrawer``.

    Calls and files are the same. mmdet's own visualizer builds one mask per segment, draws it with
    matplotlib and fails on an image without a segment. The classes come from the metainfo of the
    data set (``classes`` and ``thing_classes``); without ``thing_classes`` every class counts as a
    thing. The palette may be one of mmdet's names, such as 'coco' or 'random'. Instances and a
    semantic map are drawn where there is no panoptic map, which shows both.

    Where truth and prediction are both asked for, the picture is that of ``draw_beside``, in colors
    of its own. Its parts are reduced until no side has more than ``max_side`` pixels (None: never).
    """

    dataset_meta: dict | None = None  # mmengine's is that of the first process alone

    def __init__(
        self, name: str = 'visualizer', *args: Any, max_side: int | None = 1024, **kwargs: Any
    ) -> None:
        self.max_side = max_side
        super().__init__(name, *args, **kwargs)

    def drawer(self) -> PanopticDrawer:
        """The drawer of the data set's classes, with its palette.

        Raises:
            UserError: the palette has another length.
        """
        drawer, palette = self.comparing_drawer(), self.dataset_meta.get('palette')
        if isinstance(palette, str):
            try:
                palette = get_palette(palette, len(drawer.classes))
            except (AssertionError, KeyError, TypeError):
                raise UserError(
                    f'mmdet has no palette {palette!r} of {len(drawer.classes)} colors, one for '
                    "each class: take 'random', or None for colors far apart."
                ) from None
        return replace(drawer, palette=palette, max_side=None)

    def comparing_drawer(self) -> PanopticDrawer:
        """The drawer of pictures in which red and gray have a meaning, as palettes may hold both.

        mmdet's palette of COCO does.
        """
        classes = self.dataset_meta['classes']
        things = self.dataset_meta.get('thing_classes', classes)
        return PanopticDrawer(
            classes=classes, num_things_classes=len(things), max_side=self.max_side
        )

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        **options: Any,
    ) -> None:
        if data_sample is not None:
            data_sample = data_sample.new()  # only the copy loses what is not drawn
            for side in ('gt', 'pred'):
                if f'{side}_panoptic_seg' in data_sample:
                    for form in ('instances', 'sem_seg'):
                        data_sample.pop(f'{side}_{form}', None)
            if draw_gt and draw_pred and {*SIDES} & {*data_sample.keys()}:
                image, data_sample = self._compared(image, data_sample), None
        draw = super().add_datasample
        if options.get('out_file'):  # mmdet draws in the first process alone, its share of a test
            draw = partial(draw.__func__.__wrapped__, self)
        draw(name, image, data_sample, draw_gt, draw_pred, **options)

    def _compared(self, image: np.ndarray, sample: DetDataSample) -> np.ndarray:
        """The truth of a sample beside its prediction, or one of these where it has no other."""
        truth, prediction = (map_of(sample.get(side)) for side in SIDES)
        infos = sample.get('pred_panoptic_seg', PixelData()).metainfo.get('segments_info', ())
        return draw_beside(
            image.clip(0, 255).astype(np.uint8, copy=False),
            truth,
            prediction,
            drawer=self.comparing_drawer(),
            crowds=crowds_of(sample),
            scores={info['id']: info['score'] for info in infos if 'score' in info},
            name=osp.basename(sample.get('img_path', 'image')),
        )

    def show(self, *args: Any, **kwargs: Any) -> None:
        require_window()
        super().show(*args, **kwargs)

    _waiting = False  # matplotlib, which copies an image several times, gets it when it draws

    def set_image(self, image: np.ndarray) -> None:
        self._image, self._waiting = image.astype(np.uint8, copy=False), True
        self.height, self.width = image.shape[:2]
        self._default_font_size = max(np.sqrt(self.height * self.width) // 90, 10)  # mmengine's

    def get_image(self) -> np.ndarray:
        return self._image if self._waiting else super().get_image()

    @property
    def ax_save(self) -> Any:
        if self._waiting:
            self._waiting = False
            super().set_image(self._image)
        return self._axes

    @ax_save.setter
    def ax_save(self, axes: Any) -> None:
        self._axes = axes

    def _draw_panoptic_seg(
        self, image: np.ndarray, panoptic_seg: PixelData, *classes_and_palette: Any
    ) -> np.ndarray:
        return self.drawer().draw(image, map_of(panoptic_seg))
