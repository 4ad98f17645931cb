"""What a validation or test would find out too late, told before the first iteration."""

from collections.abc import Iterable

from mmdet.evaluation import CocoPanopticMetric
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import TestLoop, ValLoop
from torch import nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.detectors import CMTDeepLab

from .panoptic_metric import FIGURES, PanopticQualityMetric

FOLLOWING = CheckpointHook, EarlyStoppingHook
LIBRARIES = ('mmdet', 'mmengine', 'mmpretrain', 'mmseg')


def check_metrics(loop: ValLoop | TestLoop, model: nn.Module) -> None:
    """Compare the metrics of a loop with what the model predicts and with its first image.

    A :class:`CMTDeepLab` gives ``pred_panoptic_seg`` alone, so that mmdet's metrics of boxes,
    instance masks and semantic planes would fail. Of mmdet's own models only the panoptic ones give
    it. Metrics and models of the user are left alone.

    Raises:
        UserError: a metric does not score the predictions of the model, or has no ground truth:
            :class:`PanopticQualityMetric` for the first image, mmdet's metric in no folder.
        MissingFileError: the PNG of the first image does not exist.
    """
    for metric in loop.evaluator.metrics:
        name, library = type(metric).__name__, type(metric).__module__.partition('.')[0]
        if not isinstance(metric, BaseMetric):
            raise UserError(
                f'The type {name} in val_evaluator or test_evaluator is no metric: '
                'PanopticQualityMetric is one.'
            )
        if isinstance(metric, PanopticQualityMetric | CocoPanopticMetric):
            _require_panoptic_output(model, name)
        if isinstance(metric, PanopticQualityMetric):
            if len(loop.dataloader.dataset):
                metric.check_sample(loop.dataloader.dataset[0]['data_samples'].to_dict())
        elif isinstance(metric, CocoPanopticMetric):
            if metric.seg_prefix is None and not metric.format_only:
                raise UserError(
                    'CocoPanopticMetric in val_evaluator or test_evaluator has no seg_prefix: add '
                    'the folder of the panoptic PNGs, and their JSON as ann_file; '
                    'PanopticQualityMetric also reads the truth from the samples.'
                )
        elif isinstance(model, CMTDeepLab) and library in LIBRARIES:
            if not isinstance(metric, DumpResults):
                raise UserError(
                    f'{name} in val_evaluator or test_evaluator does not score panoptic '
                    f'segmentations, but {type(model).__name__} predicts nothing else: take '
                    "PanopticQualityMetric or mmdet's CocoPanopticMetric, with _delete_=True "
                    'where keys of another metric are left over.'
                )


def _require_panoptic_output(model: nn.Module, metric: str) -> None:
    """Raise a :class:`UserError` where a model of mmdet gives no panoptic segmentation."""
    if not type(model).__module__.startswith('mmdet.'):
        return
    if not hasattr(model, 'panoptic_fusion_head'):
        raise UserError(
            f'{metric} in val_evaluator or test_evaluator scores panoptic segmentations, which '
            f'{type(model).__name__} does not predict: take a metric of boxes or masks, such as '
            "mmdet's CocoMetric, or a panoptic model."
        )
    if not (getattr(model, 'test_cfg', None) or {}).get('panoptic_on', True):
        raise UserError(
            f'{metric} in val_evaluator or test_evaluator scores panoptic segmentations: set '
            'model.test_cfg.panoptic_on=True.'
        )


def check_followed(hooks: Iterable[Hook], metrics: Iterable[BaseMetric]) -> None:
    """Compare the figures that choose the best checkpoint or end the training with the metrics.

    Of metrics other than the panoptic ones it is not known what they give, so that with one of them
    every name passes.

    Raises:
        UserError: a hook follows a figure that no metric gives.
    """
    given = []
    for metric in metrics:
        if not isinstance(metric, PanopticQualityMetric | CocoPanopticMetric):
            return
        given += [f'{metric.prefix}/{name}' if metric.prefix else name for name in FIGURES]
    for hook in hooks:
        key = 'monitor' if isinstance(hook, EarlyStoppingHook) else 'save_best'
        followed = getattr(hook, key, None) or [] if isinstance(hook, FOLLOWING) else []
        for name in [followed] if isinstance(followed, str) else followed:
            if name not in (*given, 'auto'):
                raise UserError(
                    f"The key {key} of {type(hook).__name__} names '{name}', which val_evaluator "
                    f'does not give: use one of {", ".join(given)}.'
                )
