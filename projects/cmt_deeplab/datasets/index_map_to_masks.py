"""The way back to mmdet's ground truth, so that its own models train from the same planes."""

import cv2
import numpy as np
from mmdet.registry import TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MMDET_VOID, VOID_INDEX

from .base_transform import PanopticTransform


@TRANSFORMS.register_module()
class IndexMapToMasks(PanopticTransform):
    """What mmdet's ``LoadPanopticAnnotations`` yields, from the plane as it is after all geometry.

    ``PackDetInputs`` comes next. Adds ``gt_masks`` (BitmapMasks, things without crowds),
    ``gt_bboxes`` (HorizontalBoxes, tight), ``gt_bboxes_labels`` (int64), ``gt_ignore_flags``
    (bool) and ``gt_seg_map`` ((H, W) int32, ``ignore_index`` on void). As in mmdet, a crowd is in
    no mask but has its class in ``gt_seg_map``. Things without a pixel left are dropped.

    Raises:
        UserError: there is no plane, or a label equals ``ignore_index``.
    """

    def __init__(self, *, ignore_index: int = MMDET_VOID) -> None:
        self.ignore_index = ignore_index

    def transform(self, results: dict) -> dict:
        self.require_plane(results)
        plane, segments = results['gt_index_map'], results['gt_segments_info']
        all_labels = [segment['label'] for segment in segments]
        if self.ignore_index in all_labels:
            raise UserError(
                f'The label {self.ignore_index} is a class of the data set and ignore_index of '
                'IndexMapToMasks: set ignore_index to a number that is no label.'
            )
        masks, boxes, labels = [], [], []
        for k, segment in enumerate(segments):
            if segment['is_crowd'] or not segment['of_thing_class']:
                continue
            mask = (plane == k).view(np.uint8)
            x, y, width, height = cv2.boundingRect(mask)
            if width:
                masks.append(mask)
                boxes.append((x, y, x + width, y + height))
                labels.append(segment['label'])
        label_of = np.array([*all_labels, self.ignore_index], np.int32)  # -1 is the last entry
        results.update(
            gt_masks=BitmapMasks(masks, *plane.shape),
            gt_bboxes=HorizontalBoxes(np.array(boxes, np.float32).reshape(-1, 4)),
            gt_bboxes_labels=np.array(labels, np.int64),
            gt_ignore_flags=np.zeros(len(labels), bool),
            gt_seg_map=label_of[np.maximum(plane, VOID_INDEX)],
        )
        return results
