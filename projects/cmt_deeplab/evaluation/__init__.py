"""Panoptic quality: counting in ``pq``, folders in ``coco_panoptic``, and mmengine's metric."""

from .metric_check import check_followed, check_metrics, figures_of
from .panoptic_metric import PanopticQualityMetric
