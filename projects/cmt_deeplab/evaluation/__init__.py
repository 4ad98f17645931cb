"""Panoptic quality: counting in ``pq``, folders in ``coco_panoptic``, and mmengine's metric."""

from .panoptic_metric import PanopticQualityMetric
