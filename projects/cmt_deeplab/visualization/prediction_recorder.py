"""Keeps what the last validation predicted, and looks inside the model while it still is the validated one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mmdet.registry import HOOKS
from mmengine.hooks import Hook

from cmt_deeplab.evaluation.pq import PQRow, aggregate, count_image, joint_histogram

from .assignments import AssignmentMap, assignment_maps
from .matching import segment_table


@dataclass
class ValidatedImage:
    """One image of the last validation. Maps are ``(H, W)`` int64, ``label + 1000 * instance``, void = number of classes."""

    position: int  # in the data set
    img_path: str
    ground_truth: np.ndarray
    prediction: np.ndarray
    crowds: tuple[int, ...]  # ids in ``ground_truth``
    row: PQRow  # counts by label

    @property
    def quality(self) -> float:
        """PQ of this image in percent, the segments of all classes taken together; 100 where nothing was to be found nor was found."""
        weight = self.row.tp.sum() + (self.row.fp.sum() + self.row.fn.sum()) / 2
        return 100 * float(self.row.iou_sum.sum() / weight) if weight else 100.0


def best_median_worst(
    images: Sequence[ValidatedImage], each: int = 2
) -> list[tuple[str, ValidatedImage]]:
    """``each`` images with the highest, the middle and the lowest PQ, no image twice, named."""
    ranked = sorted(images, key=lambda image: (-image.quality, image.position))
    middle = max(0, len(ranked) // 2 - each // 2)
    chosen: dict[int, str] = {}
    for name, first in (('best', 0), ('median', middle), ('worst', len(ranked) - each)):
        for place in range(max(0, first), min(first + each, len(ranked))):
            chosen.setdefault(place, name)
    return [(chosen[place], ranked[place]) for place in sorted(chosen)]


@HOOKS.register_module()
class PanopticPredictionRecorder(Hook):
    """Holds the predictions of the latest validation as ``images`` and, after the last one, the assignment maps of ``choose(images)``.

    The maps are taken before other hooks give the training weights back (an averaged model, say), so they belong to the predictions. Only
    for validation sets that fit in memory: two planes an image are kept. In a distributed run a process sees its own share of the images.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        *,
        choose: Callable[[Sequence[ValidatedImage]], Sequence[ValidatedImage]] | None = None,
    ) -> None:
        self.choose = choose
        self.images: list[ValidatedImage] = []
        self.assignments: dict[int, list[AssignmentMap]] = {}  # by position in the data set

    def before_val(self, runner) -> None:
        self.images.clear()
        self.num_classes = len(runner.val_dataloader.dataset.metainfo['classes'])

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        for sample in outputs:
            sample = sample.cpu()
            truth = np.asarray(sample.gt_panoptic_seg.sem_seg[0]).astype(np.int64)
            index = np.asarray(sample.gt_panoptic_seg.index_map[0])
            prediction = np.asarray(sample.pred_panoptic_seg.sem_seg[0]).astype(np.int64)
            crowds = tuple(
                int(truth[index == k][0])
                for k in np.flatnonzero(np.asarray(sample.gt_segments.is_crowd))
                if (index == k).any()
            )
            tables = (
                segment_table(truth, num_classes=self.num_classes, crowds=crowds),
                segment_table(prediction, num_classes=self.num_classes),
            )
            row = count_image(
                len(self.images),
                *tables,
                gt_void=self.num_classes,
                histogram=joint_histogram(truth, prediction),
            )
            self.images.append(
                ValidatedImage(len(self.images), sample.img_path, truth, prediction, crowds, row)
            )

    def after_val_epoch(self, runner, metrics=None) -> None:
        if self.choose is None or runner.iter < runner.max_iters:
            return
        dataset, collate = runner.val_dataloader.dataset, runner.val_dataloader.collate_fn
        for image in self.choose(self.images):
            self.assignments[image.position] = assignment_maps(
                runner.model, collate([dataset[image.position]])
            )[0]

    def figures(self, *, num_things_classes: int) -> dict[str, dict]:
        """``All``, ``Things``, ``Stuff`` and ``per_class`` (by label) of the latest validation, as ``aggregate`` gives them (fractions)."""
        return aggregate(
            [image.row for image in self.images],
            {label: label < num_things_classes for label in range(self.num_classes)},
        )
