"""A panoptic prediction in its sample, in all the forms that metrics read."""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import mask2bbox
from mmengine.structures import InstanceData, PixelData
from torch import Tensor, nn

from cmt_deeplab.coco_format import label_of
from cmt_deeplab.postprocess import PanopticResult
from cmt_deeplab.structures import MMDET_VOID, VOID_INDEX


class SummedLosses:
    """Sums the losses of a model in one operation, and its gradient likewise."""

    def parse_losses(self, losses: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As in mmengine: the sum of the terms with 'loss' in their name, and all of them."""
        if not all(isinstance(value, Tensor) and value.dim() == 0 for value in losses.values()):
            return super().parse_losses(losses)  # of a criterion of the user
        loss = torch.stack([value for name, value in losses.items() if 'loss' in name]).sum()
        return loss, {'loss': loss, **losses}


def add_prediction(
    model: nn.Module,
    sample: DetDataSample,
    mask_logits: Tensor,
    class_logits: Tensor,
    *,
    input_size: Sequence[int],
    image_size: Sequence[int],
    rescale: bool = True,
) -> None:
    """Merge mask logits (N, h, w) and class logits (N, C+1) of one image into its sample.

    ``model`` is the detector; the sizes (height, width) are those of the padded input and of the
    image in it. Without ``rescale`` the prediction has the latter and not the original size.
    """
    result = model.postprocess(
        mask_logits,
        class_logits,
        input_size=input_size,
        image_size=image_size,
        output_size=tuple(sample.ori_shape[:2]) if rescale else image_size,
        align_corners=model.align_corners,
    )
    add_result(model, sample, result)


def add_result(model: nn.Module, sample: DetDataSample, result: PanopticResult) -> None:
    """Put the finished prediction of ``model`` into its sample."""
    sample.pred_panoptic_seg = PixelData(
        metainfo=dict(segments_info=result.segments_info), sem_seg=result.segment_map[None]
    )
    if model.semantic_on:
        add_semantic(sample, result, model.num_classes)
    if model.instance_on:
        add_instances(sample, result, model.num_things_classes)


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
