"""mmdet's visualizer with the fast panoptic overlay."""

import numpy as np
import torch
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import PixelData

from .drawer import PanopticDrawer


@VISUALIZERS.register_module()
class PanopticLocalVisualizer(DetLocalVisualizer):
    """Takes the place of ``DetLocalVisualizer`` and draws panoptic maps with ``PanopticDrawer``.

    Calls and files are the same. mmdet's own visualizer builds one mask per segment, draws it with
    matplotlib and fails on an image without a segment. The classes come from the metainfo of the
    data set (``classes`` and ``thing_classes``); without ``thing_classes`` every class counts as a
    thing. The palette may be one of mmdet's names, such as 'coco' or 'random'.
    """

    def _draw_panoptic_seg(
        self,
        image: np.ndarray,
        panoptic_seg: PixelData,
        classes: list[str] | None,
        palette: list | None,
    ) -> np.ndarray:
        things = self.dataset_meta.get('thing_classes', classes)
        palette = get_palette(palette, len(classes)) if isinstance(palette, str) else palette
        drawer = PanopticDrawer(classes=classes, num_things_classes=len(things), palette=palette)
        return drawer.draw(image, torch.as_tensor(panoptic_seg.sem_seg[0]).cpu().numpy())
