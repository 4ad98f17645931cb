"""The PQ of the ground truth itself, after it went through the plane of a model's stride."""

import torch
import torch.nn.functional as F
from mmdet.registry import DATASETS, METRICS, MODELS
from mmengine.config import Config
from mmengine.structures import PixelData
from mmengine.utils import track_iter_progress
from torch import Tensor

from cmt_deeplab.datasets.index_plane import resize_plane
from cmt_deeplab.geometry import padded_side, plane_at_stride


def confident_logits(plane: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mask logits (K+1, h, w) and class logits (K+1, C+1) of centers that are sure of one segment.

    ``plane`` (h, w) holds indices into the K ``labels``, or a negative number for void, which the
    last center takes.
    """
    void = len(labels)
    centers = torch.arange(void + 1).view(-1, 1, 1)
    masks = 50.0 * (plane.where(plane >= 0, void) == centers).float()
    classes = torch.cat([labels, labels.new_tensor([num_classes])])
    return masks, 50.0 * F.one_hot(classes, num_classes + 1).float()


def plane_ceiling(config: Config, stride: int) -> dict[str, float]:
    """The figures of the config's metric on its validation set, with the truth as the prediction.

    The truth of each image is resized as the pipeline resized the image, padded as the model pads
    it, brought to ``stride``, merged by the config's merge and scored at the original size.
    """
    model = config.model
    aligned = model.get('align_corners', True)
    counts = {key: model[key] for key in ('num_things_classes', 'num_stuff_classes')}
    merge = MODELS.build(dict(model.postprocess, **counts))
    dataset = DATASETS.build(config.val_dataloader.dataset)
    metric = METRICS.build(config.val_evaluator)
    metric.dataset_meta = dataset.metainfo
    for i in track_iter_progress(range(len(dataset))):
        item = dataset[i]
        sample, image_size = item['data_samples'], tuple(item['inputs'].shape[-2:])
        segments, index = sample.gt_segments, sample.gt_panoptic_seg.index_map[0].long()
        # Crowds are void here, as what lies outside of all segments.
        crowds = torch.nonzero(segments.is_crowd)
        truth = torch.where(torch.isin(index, crowds), -1, index)
        height, width = input_size = tuple(
            model.data_preprocessor.get('size')
            or (padded_side(side, align_corners=aligned) for side in image_size)
        )
        plane = torch.from_numpy(resize_plane(truth.numpy().astype('int16'), *image_size))
        plane = F.pad(plane, (0, width - image_size[1], 0, height - image_size[0]), value=-1)
        at_stride = tuple((side - aligned) // stride + aligned for side in input_size)
        result = merge(
            *confident_logits(
                plane_at_stride(plane, at_stride), segments.labels, sum(counts.values())
            ),
            input_size=input_size,
            image_size=image_size,
            output_size=tuple(truth.shape),
            align_corners=aligned,
        )
        sample.pred_panoptic_seg = PixelData(sem_seg=result.segment_map[None])
        metric.process({}, [sample.to_dict()])
    return metric.evaluate(len(dataset))
