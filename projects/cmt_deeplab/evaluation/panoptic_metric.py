"""Panoptic quality during training and testing, counted in memory: no PNG is written or read unless asked for, no process pool."""

import json
import os
import os.path as osp
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from PIL import Image

from cmt_deeplab.errors import MissingFileError, UserError

from .coco_panoptic import VOID_ID, read_ground_truth, read_panoptic_json
from .pq import PQRow, SegmentTable, aggregate, count_image, joint_histogram

INSTANCE_OFFSET = 1000  # mmdet's: segment value = label + 1000 * instance


@METRICS.register_module()
class PanopticQualityMetric(BaseMetric):
    """PQ, SQ, RQ over all, thing and stuff classes in percent, equal to panopticapi's; keys as mmdet's ``CocoPanopticMetric``.

    Reads ``pred_panoptic_seg.sem_seg`` (1, H, W), label + 1000 x instance, so that mmdet's own models are scored too. The ground truth is
    the sample's index plane (``gt_panoptic_seg.index_map`` (1, H, W) and ``gt_segments``) or, where a sample has none, the PNG of its
    ``img_id`` according to ``ann_file`` and ``seg_prefix``. One row of counts an image leaves :meth:`process`, in the order of the sampler;
    an image seen twice counts once.

    With ``outfile_prefix`` the predictions are also written in COCO's format: ``PREFIX.panoptic.json`` and PNGs in ``PREFIX.panoptic/``;
    ``format_only`` writes them and scores nothing (COCO test-dev: ``ann_file`` then only supplies the category ids).

    Raises ValueError, with what to do about it, where a prediction and its ground truth differ in size, a label is outside the class list,
    or no ground truth can be found; FileNotFoundError for a missing ``ann_file`` or ``seg_prefix`` when the metric is built.
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
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if format_only and outfile_prefix is None:
            raise UserError(
                'PanopticQualityMetric: format_only=True writes the predictions and needs outfile_prefix'
            )
        if seg_prefix is not None and ann_file is None:
            raise UserError(
                'PanopticQualityMetric: seg_prefix needs ann_file, the panoptic JSON of these PNGs'
            )
        if seg_prefix is not None and not osp.isdir(seg_prefix):
            raise MissingFileError(
                f'PanopticQualityMetric: there is no folder seg_prefix={seg_prefix} with panoptic PNGs: check the path'
            )
        self.ann_file, self.seg_prefix, self.classwise = ann_file, seg_prefix, classwise
        self.format_only, self.outfile_prefix = format_only, outfile_prefix
        self._annotation_file = None
        if ann_file is not None:
            needs = ('categories', 'annotations') if seg_prefix is not None else ('categories',)
            self._annotation_file = read_panoptic_json(ann_file, needs=needs)
            self._annotations = {
                entry['image_id']: entry for entry in self._annotation_file.get('annotations') or ()
            }

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        for sample in data_samples:
            img_id = sample.get('img_id')
            if img_id is None:
                raise UserError(
                    "a data sample has no 'img_id': list it in meta_keys of the packing transform"
                )
            plane = self._prediction(sample, img_id)
            written = None if self.outfile_prefix is None else self._write(sample, img_id, plane)
            row = None if self.format_only else self._count(sample, img_id, plane)
            self.results.append((img_id, row, written))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        results = {
            img_id: (row, written) for img_id, row, written in results
        }  # padded duplicates of a distributed sampler
        if self.outfile_prefix is not None:
            path = f'{self.outfile_prefix}.panoptic.json'
            with open(path, 'w', encoding='utf-8') as stream:
                json.dump(dict(annotations=[written for _, written in results.values()]), stream)
            print_log(
                f'Panoptic predictions written to {path} and {self.outfile_prefix}.panoptic/',
                logger='current',
            )
        if self.format_only:
            return {}
        classes, things = self._classes()
        figures = aggregate(
            (row for row, _ in results.values()),
            {label: name in things for label, name in enumerate(classes)},
        )
        print_log(
            'Panoptic quality:\n' + _table(figures, classes if self.classwise else ()),
            logger='current',
        )
        return {
            f'{key.upper()}{suffix}': 100 * figures[group][key]
            for group, suffix in (('All', ''), ('Things', '_th'), ('Stuff', '_st'))
            for key in ('pq', 'sq', 'rq')
        }

    def _classes(self) -> tuple[Sequence[str], frozenset]:
        meta = self.dataset_meta or {}
        if 'classes' not in meta or 'thing_classes' not in meta:
            raise UserError(
                "the data set's metainfo has no 'classes' and 'thing_classes': use a panoptic data set or set its metainfo"
            )
        return meta['classes'], frozenset(meta['thing_classes'])

    @staticmethod
    def _prediction(sample: dict, img_id) -> np.ndarray:
        """The predicted plane (H, W), label + 1000 x instance."""
        segmentation = sample.get('pred_panoptic_seg')
        if segmentation is None:
            raise UserError(
                f"the model gave no 'pred_panoptic_seg' for image {img_id}: PQ needs a panoptic model with "
                'panoptic output switched on'
            )
        return segmentation['sem_seg'].cpu().numpy()[0]

    def _segments(self, sample: dict, img_id, values: np.ndarray) -> SegmentTable:
        """The segments among the values of a predicted plane: all but void, which is the number of classes or mmdet's ``ignore_index``."""
        num_classes = len(self._classes()[0])
        labels = values % INSTANCE_OFFSET
        keep = (
            (values >= 0)
            & (labels != num_classes)
            & (labels != sample['pred_panoptic_seg'].get('ignore_index', num_classes))
        )
        values, labels = values[keep].astype(np.int64), labels[keep].astype(np.int64)
        if np.any(labels > num_classes):
            raise UserError(
                f'the prediction of image {img_id} has label {labels.max()} but the data set has {num_classes} classes: set '
                'num_things_classes and num_stuff_classes of the model to those of the data set'
            )
        return SegmentTable(values, labels)

    def _count(self, sample: dict, img_id, plane: np.ndarray) -> PQRow:
        gt_plane, gt_table, void = self._ground_truth(sample, img_id)
        if gt_plane.shape != plane.shape:
            raise UserError(
                f'the prediction of image {img_id} is {plane.shape[1]} x {plane.shape[0]} pixels but its ground truth is '
                f'{gt_plane.shape[1]} x {gt_plane.shape[0]}: predict at the original size (rescale=True) and resize '
                'the image only, not the annotation, in the test pipeline'
            )
        histogram = joint_histogram(gt_plane, plane)
        return count_image(
            img_id,
            gt_table,
            self._segments(sample, img_id, histogram[1]),
            gt_void=void,
            histogram=histogram,
        )

    def _ground_truth(self, sample: dict, img_id) -> tuple[np.ndarray, SegmentTable, int]:
        """``(plane (H, W), segments, the plane's value on void)``."""
        index_map = (sample.get('gt_panoptic_seg') or {}).get('index_map')
        if index_map is not None:
            segments = sample['gt_segments']
            labels = segments['labels'].cpu().numpy()
            table = SegmentTable(np.arange(len(labels)), labels, segments['is_crowd'].cpu().numpy())
            return index_map.cpu().numpy()[0], table, -1
        if self.seg_prefix is None:
            raise UserError(
                f"image {img_id} comes without 'gt_panoptic_seg.index_map': load annotations in the test pipeline or give "
                'PanopticQualityMetric ann_file and seg_prefix'
            )
        if img_id not in self._annotations:
            raise UserError(
                f'{self.ann_file} has no annotation of image {img_id}: give the ann_file of this data set'
            )
        label_of = self._label_of_category()
        plane, table = read_ground_truth(
            self._annotations[img_id],
            json_path=self.ann_file,
            folder=self.seg_prefix,
            categories=label_of,
        )
        labels = np.array(
            [label_of[int(category)] for category in table.categories], dtype=np.int64
        )
        return plane, SegmentTable(table.ids, labels, table.is_crowd, table.areas), VOID_ID

    def _label_of_category(self) -> dict[int, int]:
        """Category id of ``ann_file`` -> label; the identity without one."""
        classes, _ = self._classes()
        if self._annotation_file is None:
            return {label: label for label in range(len(classes))}
        id_of = {entry['name']: entry['id'] for entry in self._annotation_file['categories']}
        for name in classes:
            if name not in id_of:
                raise UserError(
                    f'{self.ann_file} has no category named {name!r}, a class of the data set: give its own '
                    'ann_file or metainfo'
                )
        return {id_of[name]: label for label, name in enumerate(classes)}

    def _write(self, sample: dict, img_id, plane: np.ndarray) -> dict:
        """Writes the PNG of one image, ids 1..S on black, and returns its entry of the JSON."""
        folder = f'{self.outfile_prefix}.panoptic'
        os.makedirs(folder, exist_ok=True)
        name = osp.splitext(osp.basename(str(sample.get('img_path') or img_id)))[0] + '.png'
        values, inverse = np.unique(plane, return_inverse=True)
        table = self._segments(sample, img_id, values)
        id_of_value = np.zeros(len(values), dtype='<u4')
        id_of_value[np.isin(values, table.ids)] = np.arange(1, len(table.ids) + 1)
        ids = id_of_value[inverse.reshape(plane.shape)]
        Image.fromarray(
            np.ascontiguousarray(ids.view(np.uint8).reshape(*plane.shape, 4)[..., :3])
        ).save(osp.join(folder, name))
        category_of = {label: category for category, label in self._label_of_category().items()}
        areas = np.bincount(ids.ravel(), minlength=len(table.ids) + 1).tolist()
        segments = [
            dict(id=k + 1, category_id=category_of[label], area=areas[k + 1])
            for k, label in enumerate(table.categories.tolist())
        ]
        return dict(image_id=img_id, file_name=name, segments_info=segments)


def _table(figures: dict[str, dict], classes: Sequence[str]) -> str:
    """The figures in percent as text, one line for each of All, Things, Stuff and for each of ``classes``."""
    width = max([10] + [len(name) for name in classes])

    def line(name: str, row: dict) -> str:
        return f'{name:{width}s} | ' + ' '.join(
            f'{100 * row[key]:7.3f}' for key in ('pq', 'sq', 'rq')
        )

    lines = [f'{"":{width}s} | {"PQ":>7s} {"SQ":>7s} {"RQ":>7s} {"classes":>7s}']
    lines += [
        line(name, figures[name]) + f' {figures[name]["n"]:7d}'
        for name in ('All', 'Things', 'Stuff')
    ]
    lines += [line(name, figures['per_class'][label]) for label, name in enumerate(classes)]
    return '\n'.join(lines)
