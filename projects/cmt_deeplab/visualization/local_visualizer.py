"""mmdet's visualizer with the fast panoptic overlay."""

from typing import Any

import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import PixelData

from cmt_deeplab.errors import UserError

from .drawer import PanopticDrawer


@VISUALIZERS.register_module()
class PanopticLocalVisualizer(DetLocalVisualizer):
    """Takes the place of ``DetLocalVisualizer`` and draws panoptic maps with ``PanopticDrawer``.

    Calls and files are the same. mmdet's own visualizer builds one mask per segment, draws it with
    matplotlib and fails on an image without a segment. The classes come from the metainfo of the
    data set (``classes`` and ``thing_classes``); without ``thing_classes`` every class counts as a
    thing. The palette may be one of mmdet's names, such as 'coco' or 'random'. Instances and a
    semantic map are drawn where there is no panoptic map, which shows both.
    """

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if data_sample is not None:
            data_sample = data_sample.new()  # only the copy loses what is not drawn
            for side in ('gt', 'pred'):
                if f'{side}_panoptic_seg' in data_sample:
                    for form in ('instances', 'sem_seg'):
                        data_sample.pop(f'{side}_{form}', None)
        super().add_datasample(name, image, data_sample, *args, **kwargs)

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
        self,
        image: np.ndarray,
        panoptic_seg: PixelData,
        classes: list[str] | None,
        palette: list | None,
    ) -> np.ndarray:
        things = self.dataset_meta.get('thing_classes', classes)
        if isinstance(palette, str):
            try:
                palette = get_palette(palette, len(classes))
            except (AssertionError, KeyError, TypeError):
                raise UserError(
                    f'mmdet has no palette {palette!r} of {len(classes)} colors, one for each '
                    "class: take 'random', or None for colors far apart."
                ) from None
        drawer = PanopticDrawer(classes=classes, num_things_classes=len(things), palette=palette)
        return drawer.draw(image, torch.as_tensor(panoptic_seg.sem_seg[0]).cpu().numpy())
