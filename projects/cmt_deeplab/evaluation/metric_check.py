"""What a validation or test would find out too late, told before the first iteration."""

from mmdet.evaluation import CocoPanopticMetric
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.runner import TestLoop, ValLoop
from torch import nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.detectors import CMTDeepLab

from .panoptic_metric import PanopticQualityMetric

LIBRARIES = ('mmdet', 'mmengine', 'mmpretrain', 'mmseg')


def check_metrics(loop: ValLoop | TestLoop, model: nn.Module) -> None:
    """Compare the metrics of a loop with what the model predicts and with its first image.

    A :class:`CMTDeepLab` gives ``pred_panoptic_seg`` alone, so that mmdet's metrics of boxes,
    instance masks and semantic planes would fail. Metrics of the user are left alone.

    Raises:
        UserError: a metric does not score the predictions of the model, or
            :class:`PanopticQualityMetric` finds no ground truth for the first image.
        MissingFileError: the PNG of the first image does not exist.
    """
    for metric in loop.evaluator.metrics:
        name, library = type(metric).__name__, type(metric).__module__.partition('.')[0]
        if not isinstance(metric, BaseMetric):
            raise UserError(
                f'The type {name} in val_evaluator or test_evaluator is no metric: '
                'PanopticQualityMetric is one.'
            )
        if isinstance(metric, PanopticQualityMetric):
            if len(loop.dataloader.dataset):
                metric.check_sample(loop.dataloader.dataset[0]['data_samples'].to_dict())
        elif isinstance(model, CMTDeepLab) and library in LIBRARIES:
            if not isinstance(metric, CocoPanopticMetric | DumpResults):
                raise UserError(
                    f'{name} in val_evaluator or test_evaluator does not score panoptic '
                    f'segmentations, but {type(model).__name__} predicts nothing else: take '
                    "PanopticQualityMetric or mmdet's CocoPanopticMetric, with _delete_=True "
                    'where keys of another metric are left over.'
                )
