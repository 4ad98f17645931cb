"""Panoptic quality during training and testing, counted in memory.

No PNG is written or read unless asked for, and no process pool is started.
"""

import json
import os
import os.path as osp
from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from PIL import Image

from cmt_deeplab.coco_format import (
    INSTANCE_OFFSET,
    VOID_ID,
    check_same_size,
    check_segments,
    colors_of_ids,
    read_panoptic_json,
)
from cmt_deeplab.errors import MissingFileError, UserError
from cmt_deeplab.structures import VOID_INDEX

from .coco_panoptic import read_segments
from .pq import (
    ImageCounts,
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
    ``pred_panoptic_seg.sem_seg`` (1, H, W), label + ``INSTANCE_OFFSET`` x instance, so that mmdet's
    own models are scored too. The ground truth is the index plane of the sample
    (``gt_panoptic_seg.index_map`` (1, H, W) and ``gt_segments``) or, where a sample has none, the
    PNG of its ``img_id`` according to ``ann_file`` and ``seg_prefix``. An image counts once.

    With ``outfile_prefix`` the predictions are also written in COCO's format, to
    ``PREFIX.panoptic.json`` and to PNGs in ``PREFIX.panoptic/``. With ``format_only`` they are
    written but not scored (COCO test-dev: ``ann_file`` then only supplies the category ids).

    Raises:
        MissingFileError: ``ann_file`` or ``seg_prefix`` does not exist when the metric is built.
        UserError: prediction and ground truth differ in size or classes, or one is missing.
    """

    default_prefix = 'coco_panoptic'

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
        self.format_only, self.outfile_prefix = format_only, outfile_prefix
        self._truth = None
        if ann_file is not None:
            needs = ('categories',) if seg_prefix is None else ('categories', 'annotations')
            self._truth = read_panoptic_json(ann_file, needs=needs)
            self._annotations = {a['image_id']: a for a in self._truth.get('annotations') or ()}

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, meta: dict | None) -> None:
        """A loop sets the names of the classes when it is built, and they are checked there."""
        self._dataset_meta = meta
        if meta is not None:
            self._category_ids()

    def check_sample(self, sample: dict) -> None:
        """Raise a :class:`UserError` unless a prediction for the sample could be scored."""
        void = torch.full((1, *sample['ori_shape'][:2]), len(self._classes()[0]))
        trial = copy(self)
        trial.outfile_prefix, trial.results = None, []
        trial.process(None, [sample | dict(pred_panoptic_seg=dict(sem_seg=void))])

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            img_id = sample.get('img_id')
            if img_id is None:
                raise UserError(
                    "A data sample has no 'img_id': list it in meta_keys of the packing transform."
                )
            if sample.get('pred_panoptic_seg') is None:
                raise UserError(
                    f"The model gave no 'pred_panoptic_seg' for image {img_id}: PQ needs a "
                    'panoptic model with panoptic output switched on.'
                )
            # label + INSTANCE_OFFSET x instance, (H, W)
            plane = sample['pred_panoptic_seg']['sem_seg'].cpu().numpy()[0]
            written = None if self.outfile_prefix is None else self._write(sample, img_id, plane)
            row = None if self.format_only else self._count(sample, img_id, plane)
            self.results.append((img_id, row, written))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        # A distributed sampler may have repeated images to give each process as many.
        images = {img_id: (row, written) for img_id, row, written in results}
        if self.outfile_prefix is not None:
            path = f'{self.outfile_prefix}.panoptic.json'
            with open(path, 'w', encoding='utf-8') as stream:
                json.dump(dict(annotations=[written for _, written in images.values()]), stream)
            print_log(
                f'Panoptic predictions written to {path} and {self.outfile_prefix}.panoptic/',
                logger='current',
            )
        if self.format_only:
            return {}
        classes, things = self._classes()
        figures = aggregate(
            (row for row, _ in images.values()),
            {label: name in things for label, name in enumerate(classes)},
        )
        table = figures_table(figures, classes if self.classwise else ())
        print_log(f'Panoptic quality:\n{table}', logger='current')
        return {name: 100 * figures[group][key] for name, (group, key) in FIGURES.items()}

    def _classes(self) -> tuple[Sequence[str], Sequence[str]]:
        """The names of all classes and of those that are things."""
        meta = self.dataset_meta or {}
        if 'classes' not in meta or 'thing_classes' not in meta:
            raise UserError(
                "The data set's metainfo has no 'classes' and 'thing_classes': use a panoptic data "
                'set or set its metainfo.'
            )
        return meta['classes'], meta['thing_classes']

    def _segments(self, sample: dict, img_id, ids: np.ndarray) -> SegmentTable:
        """The segments among the ids of a predicted plane.

        Void is the number of classes, or the ``ignore_index`` of mmdet's models.
        """
        num_classes = len(self._classes()[0])
        void = sample['pred_panoptic_seg'].get('ignore_index', num_classes)
        ids = ids[ids % INSTANCE_OFFSET != void]
        largest = max(ids[ids >= 0] % INSTANCE_OFFSET, default=0)
        if largest > num_classes:
            raise UserError(
                f'The prediction of image {img_id} has label {largest} but the data set has '
                f'{num_classes} classes: set num_things_classes and num_stuff_classes of the model '
                'to those of the data set.'
            )
        return panoptic_map_segments(ids, num_classes=num_classes)

    def _count(self, sample: dict, img_id, plane: np.ndarray) -> ImageCounts:
        gt_plane, gt, void = self._truth_of(sample, img_id)
        check_same_size(
            f'The prediction of image {img_id}',
            plane.shape,
            'its ground truth',
            gt_plane.shape,
            'predict at the original size (rescale=True) and resize the image only, not the '
            'annotation, in the test pipeline',
        )
        histogram = joint_histogram(gt_plane, plane)
        pred = self._segments(sample, img_id, histogram[1])
        return match_segments(gt, pred, gt_void=void, histogram=histogram).counts()

    def _truth_of(self, sample: dict, img_id) -> tuple[np.ndarray, SegmentTable, int]:
        """The plane (H, W), the segments and the value of void, of the sample or of its PNG."""
        index_map = (sample.get('gt_panoptic_seg') or {}).get('index_map')
        if index_map is not None:
            segments = sample['gt_segments']
            labels, is_crowd = (segments[key].cpu().numpy() for key in ('labels', 'is_crowd'))
            table = SegmentTable(np.arange(len(labels)), labels, is_crowd)
            return index_map.cpu().numpy()[0], table, VOID_INDEX
        if self.seg_prefix is None:
            raise UserError(
                f"Image {img_id} comes without 'gt_panoptic_seg.index_map': load annotations in "
                'the test pipeline or give PanopticQualityMetric ann_file and seg_prefix.'
            )
        if img_id not in self._annotations:
            raise UserError(
                f'{self.ann_file} has no annotation of image {img_id}: give the ann_file of this '
                'data set.'
            )
        annotation = self._annotations[img_id]
        labels = {category: label for label, category in enumerate(self._category_ids())}
        check_segments(annotation, self.ann_file, labels)
        files = dict(folder=self.seg_prefix, json_file=self.ann_file)
        return *read_segments(annotation, labels, **files), VOID_ID

    def _category_ids(self) -> Sequence[int]:
        """The category id in ``ann_file`` of each label; without a file the labels themselves."""
        classes, _ = self._classes()
        if self._truth is None:
            return range(len(classes))
        id_of = {entry['name']: entry['id'] for entry in self._truth['categories']}
        for name in classes:
            if name not in id_of:
                raise UserError(
                    f'{self.ann_file} has no category named {name!r}, a class of the data set: '
                    'give its own ann_file or metainfo.'
                )
        return [id_of[name] for name in classes]

    def _write(self, sample: dict, img_id, plane: np.ndarray) -> dict:
        """Writes the PNG of one image, ids 1..S on black, and returns its entry of the JSON."""
        folder = f'{self.outfile_prefix}.panoptic'
        os.makedirs(folder, exist_ok=True)
        name = osp.splitext(osp.basename(str(sample.get('img_path') or img_id)))[0] + '.png'
        values, rank, areas = np.unique(plane, return_inverse=True, return_counts=True)
        table, category_ids = self._segments(sample, img_id, values), self._category_ids()
        is_segment = np.isin(values, table.ids)
        id_of_value = np.cumsum(is_segment) * is_segment
        colors = colors_of_ids(id_of_value[rank.reshape(plane.shape)])
        Image.fromarray(np.ascontiguousarray(colors)).save(osp.join(folder, name))
        found = zip(table.categories, areas[is_segment].tolist())
        segments = [
            dict(id=k, category_id=category_ids[label], area=area)
            for k, (label, area) in enumerate(found, start=1)
        ]
        return dict(image_id=img_id, file_name=name, segments_info=segments)
