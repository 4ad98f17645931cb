"""Panoptic quality during training and testing, counted in memory.

No PNG is written or read unless asked for, and no process pool is started.
"""

import logging
import os.path as osp
from collections.abc import Callable, Hashable, Sequence
from copy import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from cmt_deeplab.analysis.lost_pq import lost_pq, lost_table
from cmt_deeplab.analysis.segment_rows import all_segments, image_score
from cmt_deeplab.categories import class_list
from cmt_deeplab.coco_format import VOID_ID, check_num_classes, check_same_size, label_of
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.remarks import ImageScore, evaluation_remarks
from cmt_deeplab.structures import VOID_INDEX

from .data_sample import has_truth, id_of, predicted_plane
from .panoptic_files import PredictionFiles, TruthFiles
from .pq import (
    SegmentTable,
    aggregate,
    figures_table,
    joint_histogram,
    match_segments,
    panoptic_map_segments,
)

GROUPS = {'All': '', 'Things': '_th', 'Stuff': '_st'}  # of classes, and how mmdet names theirs
FIGURES = {f'{k.upper()}{s}': (group, k) for group, s in GROUPS.items() for k in ('pq', 'sq', 'rq')}


@METRICS.register_module()
class PanopticQualityMetric(BaseMetric):
    """PQ, SQ and RQ over all, thing and stuff classes in percent, equal to panopticapi's.

    The keys are those of mmdet's ``CocoPanopticMetric``. The prediction is
    ``pred_panoptic_seg.sem_seg`` (1, H, W) with the values of ``map_value``, so that mmdet's own
    models are scored too. The ground truth is the index plane of the sample
    (``gt_panoptic_seg.index_map`` (1, H, W) and ``gt_segments``) or, where a sample has none, the
    PNG of its ``img_id`` according to ``ann_file`` and ``seg_prefix``. An image, which is its
    ``img_id`` and its ``img_path``, counts once.

    The first process keeps ``figures`` (of ``pq.aggregate``) and ``lost_pq`` by label, and
    ``images``, an ``ImageScore`` by ``img_id`` and ``img_path``.

    With ``outfile_prefix`` the predictions are also written in COCO's format, to
    ``PREFIX.panoptic.json`` and to PNGs in ``PREFIX.panoptic/``. With ``format_only`` they are
    written but not scored (COCO test-dev: ``ann_file`` then only supplies the category ids).

    Raises:
        MissingFileError: ``ann_file`` or ``seg_prefix`` does not exist when the metric is built.
        UserError: prediction and ground truth differ in size or classes, one is missing, or two
            images have one ``img_id`` where a JSON tells images apart by it.
    """

    default_prefix = 'coco_panoptic'

    unwritten: str | None = None  # what could not be written of the last evaluation, and why

    def __init__(
        self,
        *,
        ann_file: str | None = None,
        seg_prefix: str | None = None,
        classwise: bool = False,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        **kwargs,
    ) -> None:
        if kwargs.get('collect_dir') is None:  # by mmengine in a folder below the current one
            kwargs.setdefault('collect_device', 'gpu')  # by the group of the processes, any one
        super().__init__(**kwargs)
        if format_only and outfile_prefix is None:
            raise UserError(
                'PanopticQualityMetric: format_only=True writes the predictions and needs '
                'outfile_prefix.'
            )
        if seg_prefix is not None and ann_file is None:
            raise UserError(
                'PanopticQualityMetric: seg_prefix needs ann_file, the panoptic JSON of these PNGs.'
            )
        if seg_prefix is not None and not osp.isdir(seg_prefix):
            raise MissingFileError(
                f'PanopticQualityMetric: the folder seg_prefix={seg_prefix} does not exist: '
                'correct the path to the panoptic PNGs.'
            )
        self.ann_file, self.seg_prefix, self.classwise = ann_file, seg_prefix, classwise
        self.format_only = format_only
        self._files = TruthFiles(ann_file, seg_prefix) if ann_file else None
        self._written = PredictionFiles(outfile_prefix) if outfile_prefix else None
        self._path_of = {}

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict | None) -> None:
        """A loop sets the names of the classes when it is built, and they are checked there."""
        self._dataset_meta = meta
        if meta is not None:
            number = len(self._classes()[0])
            check_num_classes(number, 'PanopticQualityMetric')
            ids = range(number)
            if self._files:
                ids = self._files.category_ids(meta, all_needed=self._written is not None)
            if self._written:
                self._written.categories = [
                    dict(id=category, name=name, isthing=int(is_thing))
                    for category, (name, is_thing) in zip(ids, class_list(meta))
                ]

    def check_sample(self, sample: dict) -> None:
        """Raise a :class:`UserError` unless a prediction for the sample could be scored."""
        void = torch.full((1, *sample['ori_shape'][:2]), len(self._classes()[0]))
        trial = copy(self)
        trial._written, trial.results = None, []
        trial.process(None, [sample | dict(pred_panoptic_seg=dict(sem_seg=void))])

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        self._classes()  # refuses a data set without classes
        for sample in data_samples:
            img_id, img_path = id_of(sample), sample.get('img_path')
            sample = dict(sample, img_id=img_id)
            plane = predicted_plane(sample)
            if self._written or not has_truth(sample):
                self._require_one_path(img_id, img_path)
            score = None if self.format_only else self._score(sample, plane)
            entry = self._write_png(sample, plane) if self._written else None
            self.results.append((img_id, img_path, score, entry))

    def _write_png(self, sample: dict, plane: np.ndarray) -> dict | str:
        """Its entry in the JSON or, where the figures are wanted too, why it cannot be written."""
        table = self._segments(sample, np.unique(plane))
        image = sample['img_id'], sample.get('img_path')
        try:
            return self._written.write_png(*image, plane, table)
        except UserError as error:
            if self.format_only:
                raise
            return str(error)

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        # A distributed sampler may have repeated images to give each process as many.
        images = {(img_id, img_path): rest for img_id, img_path, *rest in results}
        for identity in images if self._path_of else ():  # another process may have had the other
            self._require_one_path(*identity)
        entries = [entry for _, entry in images.values()]
        if self.format_only:
            self._written.write_json(entries)
            return {}
        self.images = {identity: score for identity, (score, _) in images.items()}
        scores = [*self.images.values()]
        classes, things = self._classes()
        kinds = {label: name in things for label, name in enumerate(classes)}
        self.figures = figures = aggregate((score.counts for score in scores), kinds)
        self.lost_pq = lost_pq(all_segments(scores), kinds)
        shown = classes if self.classwise else ()
        tables = f'{figures_table(figures, shown)}\n\n{lost_table(self.lost_pq, shown)}'
        print_log(f'Panoptic quality:\n{tables}', logger='current')
        stuff = {label: name for label, name in enumerate(classes) if name not in things}
        truth = self.ann_file or 'the ground truth'
        # The logger leaves out what it has said, so that this comes once, not at each validation.
        for remark in evaluation_remarks(scores, stuff, truth, 'the predictions'):
            print_log(remark, logger='current', level=logging.WARNING)
        self.unwritten = self._written.try_json(entries) if self._written else None
        return {name: 100 * figures[group][key] for name, (group, key) in FIGURES.items()}

    def _require_one_path(self, img_id: Hashable, img_path: str | None) -> None:
        """Refuse a second image with an ``img_id``, by which a JSON tells images apart."""
        known = self._path_of.setdefault(img_id, img_path)
        if known != img_path:
            raise UserError(
                f'{known} and {img_path} both have the img_id {img_id}, by which a panoptic JSON '
                '(ann_file, outfile_prefix) tells images apart: evaluate one data set at a time, '
                'or load the truth in the test pipeline and leave outfile_prefix out.'
            )

    def _classes(self) -> tuple[Sequence[str], Sequence[str]]:
        """The names of all classes and of those that are things."""
        meta = self.dataset_meta or {}
        if 'classes' not in meta or 'thing_classes' not in meta:
            raise UserError(
                "The data set's metainfo has no 'classes' and 'thing_classes': use a panoptic data "
                'set or set its metainfo.'
            )
        return meta['classes'], meta['thing_classes']

    def _segments(self, sample: dict, ids: np.ndarray) -> SegmentTable:
        """The segments among the ids of a predicted plane.

        Void is the number of classes, or the ``ignore_index`` of mmdet's models.
        """
        num_classes = len(self._classes()[0])
        void = sample['pred_panoptic_seg'].get('ignore_index', num_classes)
        ids = ids[label_of(ids) != void]
        largest = max(label_of(ids[ids >= 0]), default=0)
        if largest > num_classes:
            raise UserError(
                f'The prediction of image {sample["img_id"]} has label {largest} but the data set '
                f'has {num_classes} classes: set num_things_classes and num_stuff_classes of the '
                'model to those of the data set.'
            )
        listed = sample['pred_panoptic_seg'].get('segments_info') or ()
        scores = {segment['id']: segment.get('score', np.nan) for segment in listed}
        return panoptic_map_segments(ids, num_classes=num_classes, scores=scores)

    def _score(self, sample: dict, plane: np.ndarray) -> ImageScore:
        img_id = sample['img_id']
        fits = partial(
            check_same_size,
            f'The prediction of image {img_id}',
            plane.shape,
            'its ground truth',
            remedy='predict at the original size (rescale=True) and resize the image only, not the '
            'annotation, in the test pipeline',
        )
        gt_plane, gt, void = self.truth_of(sample, fits)
        fits(gt_plane.shape)
        histogram = joint_histogram(gt_plane, plane)
        pred = self._segments(sample, histogram[1])
        matches = match_segments(gt, pred, gt_void=void, histogram=histogram)
        return image_score(matches, img_id)

    def truth_of(
        self, sample: dict, fits: Callable = lambda size: None
    ) -> tuple[np.ndarray, SegmentTable, int]:
        """The plane (H, W), the segments and the value of void, of the sample or of its PNG.

        ``fits`` gets the size (H, W) of a PNG and may refuse it before it is decoded.
        """
        if has_truth(sample):
            segments = sample['gt_segments']
            labels, is_crowd = (segments[key].cpu().numpy() for key in ('labels', 'is_crowd'))
            table = SegmentTable(np.arange(len(labels)), labels, is_crowd)
            return sample['gt_panoptic_seg']['index_map'].cpu().numpy()[0], table, VOID_INDEX
        img_id = sample['img_id']
        if self.seg_prefix is None:
            raise UserError(
                f"Image {img_id} comes without 'gt_panoptic_seg.index_map': load annotations in "
                'the test pipeline or give PanopticQualityMetric ann_file and seg_prefix; a data '
                'set without ground truth is predicted with format_only=True and outfile_prefix.'
            )
        return *self._files.truth_of(img_id, fits), VOID_ID
