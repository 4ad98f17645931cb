"""Keeps what a run predicted at its last validation, for the figures and pictures of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from cmt_deeplab.coco_format import map_value
from cmt_deeplab.evaluation.pq import (
    ImageCounts,
    SegmentTable,
    joint_histogram,
    match_segments,
    panoptic_map_segments,
)
from cmt_deeplab.visualization import AssignmentMap, assignment_maps
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.runner import Runner


@dataclass(frozen=True)
class ValidatedImage:
    """One image, its maps (H, W) of values of ``map_value``, and how they compare.

    Void is the number of classes.
    """

    position: int  # in the data set
    img_path: str
    ground_truth: np.ndarray
    prediction: np.ndarray
    crowds: list[int]  # segments of the ground truth
    matches: dict[int, int]  # predicted segment: true segment
    false_positives: list[int]  # predicted segments that count as wrong
    row: ImageCounts

    @property
    def quality(self) -> float:
        """PQ of this image in percent, where the segments of all classes are taken together.

        It is 100 where there was nothing to find and nothing was found.
        """
        iou_sum, tp, fp, fn = np.reshape([*self.row.values()], (-1, 4)).sum(axis=0)
        weight = tp + (fp + fn) / 2
        return 100 * float(iou_sum / weight) if weight else 100.0


def validated_image(position: int, sample: DetDataSample, num_classes: int) -> ValidatedImage:
    """Match the prediction of a sample with its ground truth, by the rules of PQ."""
    sample = sample.cpu()
    truth, prediction = (
        np.asarray(data.sem_seg[0], np.int64)
        for data in (sample.gt_panoptic_seg, sample.pred_panoptic_seg)
    )
    labels, is_crowd = (np.asarray(sample.gt_segments[key]) for key in ('labels', 'is_crowd'))
    true_ids = map_value(labels, np.arange(1, len(labels) + 1))
    histogram = joint_histogram(truth, prediction)
    gt = SegmentTable(true_ids, labels, is_crowd)
    pred = panoptic_map_segments(histogram[1], num_classes=num_classes)
    found = match_segments(gt, pred, gt_void=num_classes, histogram=histogram)
    return ValidatedImage(
        position,
        sample.img_path,
        truth,
        prediction,
        crowds=true_ids[is_crowd].tolist(),
        matches=dict(zip(pred.ids[found.pred_rows].tolist(), true_ids[found.gt_rows].tolist())),
        false_positives=pred.ids[found.is_false_positive].tolist(),
        row=found.counts(),
    )


def best_median_worst(
    images: Sequence[ValidatedImage], each: int = 2
) -> list[tuple[str, ValidatedImage]]:
    """``each`` images with the highest, the middle and the lowest PQ, named; no image twice."""
    ranked = sorted(images, key=lambda image: (-image.quality, image.position))
    end = len(ranked)
    names: dict[int, str] = {}  # by place; what comes later in this list takes precedence
    for name, first in (('worst', end - each), ('median', (end - each) // 2), ('best', 0)):
        names.update(dict.fromkeys(range(max(0, first), min(first + each, end)), name))
    return [(names[place], ranked[place]) for place in sorted(names)]


class PredictionRecorder(Hook):
    """Holds the ``images`` of the latest validation and, after the last one, the ``examples``.

    An example is its rank (best, median or worst), the image and the assignment maps of all layers.
    The maps are made before other hooks restore the training weights (after validating an averaged
    model, for instance), so they belong to the predictions. All images are kept in memory.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self.images: list[ValidatedImage] = []
        self.examples: list[tuple[str, ValidatedImage, list[AssignmentMap]]] = []

    def before_val(self, runner: Runner) -> None:
        self.images.clear()

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any, outputs: Sequence[DetDataSample]
    ) -> None:
        num_classes = len(runner.val_dataloader.dataset.metainfo['classes'])
        for sample in outputs:
            self.images.append(validated_image(len(self.images), sample, num_classes))

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        if runner.iter < runner.max_iters:
            return
        dataset, collate = runner.val_dataloader.dataset, runner.val_dataloader.collate_fn
        for rank, image in best_median_worst(self.images):
            maps = assignment_maps(runner.model, collate([dataset[image.position]]))[0]
            self.examples.append((rank, image, maps))
