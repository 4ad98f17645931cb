"""mmdet's visualizer with the fast panoptic overlay."""

import numpy as np
from mmdet.registry import VISUALIZERS
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.structures import PixelData

from .drawer import PanopticDrawer


@VISUALIZERS.register_module()
class PanopticLocalVisualizer(DetLocalVisualizer):
    """Drop-in for ``DetLocalVisualizer``: the same calls and files, panoptic maps drawn by ``PanopticDrawer``.

    mmdet's own builds one mask a segment and draws it with matplotlib, and stops on an image without a segment. The class counts come from
    the data set's metainfo (``classes``, ``thing_classes``); without ``thing_classes`` every class counts as a thing. The palette may be one
    of mmdet's names ('coco', 'random', ...).
    """

    def _draw_panoptic_seg(
        self,
        image: np.ndarray,
        panoptic_seg: PixelData,
        classes: list[str] | None,
        palette: list | None,
    ) -> np.ndarray:
        things = self.dataset_meta.get(
            'thing_classes', self.dataset_meta.get('THING_CLASSES', classes)
        )
        palette = get_palette(palette, len(classes)) if isinstance(palette, str) else palette
        drawer = PanopticDrawer(classes=classes, num_things_classes=len(things), palette=palette)
        segment_map = panoptic_seg.sem_seg[0]
        return drawer.draw(
            image,
            segment_map.cpu().numpy() if hasattr(segment_map, 'cpu') else np.asarray(segment_map),
        )
