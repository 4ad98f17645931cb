"""What a merge returns."""

from dataclasses import dataclass

from torch import Tensor

INSTANCE_OFFSET = 1000  # mmdet's: value = label + 1000 * instance


@dataclass(frozen=True)
class PanopticResult:
    """Panoptic segmentation of one image.

    ``segment_map`` holds label + 1000 x instance (stuff has instance 0, things 1, 2, ... over all classes) and the number of classes on
    void. ``segments_info`` has one dict a segment: ``id`` (its value in the map), ``category_id`` (label), ``isthing``, ``score`` (class
    probability x mean mask probability) and ``area`` in pixels.
    """

    segment_map: Tensor  # (H_o, W_o) int32
    segments_info: list[dict]
