"""What a validation or test would find out too late, told before the first iteration."""

import os.path as osp
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from itertools import zip_longest

from mmdet.evaluation import CocoMetric, CocoPanopticMetric, SemSegMetric
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import TestLoop, ValLoop
from torch import nn

from cmt_deeplab.datasets.file_check import paths_of_equal_names
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.detectors import CMTDeepLab

from .panoptic_metric import FIGURES, PanopticQualityMetric

FOLLOWING = CheckpointHook, EarlyStoppingHook
LIBRARIES = ('mmdet', 'mmengine', 'mmpretrain', 'mmseg')
# What switches on a prediction of CMTDeepLab beside the panoptic one.
SWITCHES = dict(pred_sem_seg='semantic_on', pred_instances='instance_on')


def check_metrics(loop: ValLoop | TestLoop, model: nn.Module) -> None:
    """Compare the metrics of a loop with what the model predicts and with its first image.

    A :class:`CMTDeepLab` gives ``pred_panoptic_seg`` and, if switched on, a semantic map and
    instances, which mmdet's other metrics read. Of mmdet's own models only the panoptic ones give
    the first. Metrics and models of the user are left alone.

    Raises:
        UserError: a metric does not score the predictions of the model, or has no ground truth, or
            one with other classes.
        MissingFileError: the PNG of the first image does not exist.
    """
    dataset = loop.dataloader.dataset
    for metric in loop.evaluator.metrics:
        name, library = type(metric).__name__, type(metric).__module__.partition('.')[0]
        if not isinstance(metric, BaseMetric):
            raise UserError(
                f'The type {name} in val_evaluator or test_evaluator is no metric: '
                'PanopticQualityMetric is one.'
            )
        if metric.collect_device == 'cpu' and metric.collect_dir is None:
            # mmengine's own place lies below the folder in which the command starts
            metric.collect_dir = osp.join(loop.runner.work_dir, '.collected')
        if getattr(metric, '_coco_api', None) and getattr(dataset, 'skipped_images', None):
            raise UserError(
                f'{name} in val_evaluator or test_evaluator scores all images of its ann_file, but '
                'skip_faulty_images left some out: take them out of the files, or use '
                'PanopticQualityMetric.'
            )
        if isinstance(metric, PanopticQualityMetric | CocoPanopticMetric):
            _require_panoptic_output(model, name)
        if isinstance(metric, PanopticQualityMetric):
            if len(dataset):
                metric.check_sample(dataset[0]['data_samples'].to_dict())
        elif isinstance(metric, CocoPanopticMetric):
            _require_order(metric, None)
            files = metric.tmp_dir is None or metric.seg_prefix is not None
            if files and (paths := paths_of_equal_names(dataset)):
                raise UserError(
                    'CocoPanopticMetric in val_evaluator or test_evaluator tells PNGs apart by the '
                    'names of the images alone, and some of these are equal (in the folder of '
                    f'{paths[0]} and others): take PanopticQualityMetric.'
                )
            if metric.seg_prefix is None and not metric.format_only:
                raise UserError(
                    'CocoPanopticMetric in val_evaluator or test_evaluator has no seg_prefix: add '
                    'the folder of the panoptic PNGs, and their JSON as ann_file; '
                    'PanopticQualityMetric also reads the truth from the samples.'
                )
        elif isinstance(model, CMTDeepLab) and library in LIBRARIES:
            if not isinstance(metric, DumpResults):
                _require_output(model, metric)
                if len(dataset):
                    _require_truth(metric, dataset[0]['data_samples'].to_dict())


class _Asked(Exception):
    """A metric has asked for a prediction."""


class _Sample(dict):
    """A data sample that stops a metric where it reads its prediction."""

    def __getitem__(self, key: str) -> object:
        if str(key).startswith('pred_'):
            raise _Asked(key)
        return super().__getitem__(key)


def _require_output(model: CMTDeepLab, metric: BaseMetric) -> None:
    """Raise a :class:`UserError` where a metric of mmdet reads what the model does not predict."""
    name, asked, trial = type(metric).__name__, None, copy(metric)
    trial.results = []
    try:
        trial.process(None, [_Sample()])
    except _Asked as error:
        asked = error.args[0]
    except Exception:  # it reads a ground truth of its own first
        pass
    if asked not in SWITCHES:
        raise UserError(
            f'{name} in val_evaluator or test_evaluator does not score panoptic segmentations, '
            f'semantic maps or instances, but {type(model).__name__} predicts nothing else: take '
            "PanopticQualityMetric or mmdet's CocoPanopticMetric, SemSegMetric or CocoMetric, with "
            '_delete_=True where keys of another metric are left over.'
        )
    if not getattr(model, SWITCHES[asked]):
        raise UserError(
            f'{name} in val_evaluator or test_evaluator reads {asked}, which '
            f'{type(model).__name__} predicts with model.{SWITCHES[asked]}=True: set it.'
        )


def _require_truth(metric: BaseMetric, sample: dict) -> None:
    """Raise a :class:`UserError` where a metric of mmdet has no ground truth or other classes."""
    name = f'{type(metric).__name__} in val_evaluator or test_evaluator'
    if isinstance(metric, SemSegMetric) and metric.output_dir is not None:
        raise UserError(
            f'{name} cannot write to output_dir, as mmdet hands OpenCV a picture of Pillow there: '
            'leave it out, and take pred_sem_seg from tools/test.py --out, or PNGs from '
            'outfile_prefix of PanopticQualityMetric.'
        )
    if isinstance(metric, SemSegMetric):
        if 'gt_sem_seg' not in sample and 'index_map' not in sample.get('gt_panoptic_seg', ()):
            raise UserError(
                f'{name} has no ground truth: load it in the test pipeline, by '
                'LoadPanopticIndexMap after the resize.'
            )
    if type(metric) is CocoMetric and not metric.format_only:
        truth = metric._coco_api
        if truth is None and 'instances' not in sample:
            raise UserError(
                f'{name} has no ground truth: set its ann_file to the COCO JSON of instances.'
            )
        if truth is not None and sample['img_id'] not in truth.imgs:
            raise UserError(
                f'The ann_file of {name} has no image {sample["img_id"]!r}, the first one of the '
                'data set: give the instances of the same images, with the same ids.'
            )
        if truth is not None:
            _require_order(metric, metric.dataset_meta.get('thing_classes'))


def _require_order(metric: CocoMetric | CocoPanopticMetric, labels: Sequence[str] | None) -> None:
    """Raise a :class:`UserError` where the file of a metric of mmdet has other ``labels``.

    mmdet's metrics number those of its categories that the data set has in the order of the file.
    """
    truth, classes = metric._coco_api, (metric.dataset_meta or {}).get('classes')
    if truth is None or classes is None:
        return
    labels = classes if labels is None else labels
    found = [truth.cats[i]['name'] for i in truth.get_cat_ids(cat_names=classes)][: len(labels)]
    for name, name_there in zip_longest(labels, found):
        if name != name_there:
            raise UserError(
                f'The ann_file of {type(metric).__name__} in val_evaluator or test_evaluator has '
                f'the category {name_there!r} where the data set has {name!r}, and mmdet numbers '
                'both in their order: give the metainfo of the data set the order of the file, or '
                'take PanopticQualityMetric, which goes by name.'
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


def figures_of(metrics: Iterable[BaseMetric]) -> list[str]:
    """The names of what the panoptic metrics give; none where another metric may give more."""
    given = []
    for metric in metrics:
        if not isinstance(metric, PanopticQualityMetric | CocoPanopticMetric):
            return []
        given += [f'{metric.prefix}/{name}' if metric.prefix else name for name in FIGURES]
    return given


def check_followed(hooks: Iterable[Hook], given: Collection[str]) -> None:
    """Compare the figures that choose the best checkpoint or end the training with those given.

    Raises:
        UserError: a hook follows another figure. Where none is given, every name passes.
    """
    for hook in hooks if given else ():
        key = 'monitor' if isinstance(hook, EarlyStoppingHook) else 'save_best'
        followed = getattr(hook, key, None) or [] if isinstance(hook, FOLLOWING) else []
        for name in [followed] if isinstance(followed, str) else followed:
            if name not in (*given, 'auto'):
                raise UserError(
                    f"The key {key} of {type(hook).__name__} names '{name}', which val_evaluator "
                    f'does not give: use one of {", ".join(given)}.'
                )
