"""The other forms of a panoptic prediction that mmdet's metrics read, and their ground truth."""

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import mask2bbox
from mmengine.structures import InstanceData, PixelData
from torch import Tensor

from cmt_deeplab.coco_format import label_of
from cmt_deeplab.postprocess import PanopticResult
from cmt_deeplab.structures import MMDET_VOID, VOID_INDEX


def semantic_map(labels: Tensor, num_classes: int) -> PixelData:
    """A map of ``labels`` (H, W), where those from ``num_classes`` on are void.

    Void is 255 as in mmdet, and the number of classes where that is larger; it is not counted where
    the ground truth has it.
    """
    void = max(MMDET_VOID, num_classes)
    labels = torch.where(labels < num_classes, labels, void)
    return PixelData(metainfo=dict(ignore_index=void), sem_seg=labels[None])


def add_semantic(sample: DetDataSample, result: PanopticResult, num_classes: int) -> None:
    """Add ``pred_sem_seg`` and, where the ground truth is an index plane, ``gt_sem_seg``."""
    sample.pred_sem_seg = semantic_map(label_of(result.segment_map), num_classes)
    truth = sample.get('gt_panoptic_seg')
    if 'gt_sem_seg' not in sample and truth is not None and 'index_map' in truth:
        labels = sample.gt_segments.labels.int()
        labels = torch.cat([labels, labels.new_tensor([num_classes])])  # the last one is void's
        index = truth.index_map[0].long().clamp(min=VOID_INDEX)
        sample.gt_sem_seg = semantic_map(labels[index], num_classes)


def add_instances(sample: DetDataSample, result: PanopticResult, num_things: int) -> None:
    """Add ``pred_instances``: the things with ``masks`` (M, H, W), and the boxes around them."""
    things = [info for info in result.segments_info if info['category_id'] < num_things]
    segment_map = result.segment_map
    ids, labels = (
        torch.tensor([info[key] for info in things], dtype=torch.int64, device=segment_map.device)
        for key in ('id', 'category_id')
    )
    masks = segment_map == ids[:, None, None]
    scores = torch.tensor([info['score'] for info in things], device=segment_map.device)
    sample.pred_instances = InstanceData(
        masks=masks, bboxes=mask2bbox(masks), labels=labels, scores=scores
    )
