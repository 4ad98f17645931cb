"""Panoptic quality: counting (``pq``), COCO's files (``coco_panoptic``) and the metric for mmengine's evaluator."""

from .panoptic_metric import PanopticQualityMetric

__all__ = ['PanopticQualityMetric']
