"""mmdet's ground truth, masks of things and a class map, as the plane that our models learn from.

Labels mean what they mean in mmdet's own heads (``preprocess_panoptic_gt``): those of things come
first, the class map counts for stuff alone, and any other value of it is void.
"""

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size
from cmt_deeplab.structures import MMDET_VOID, VOID_INDEX


def add_index_map(sample: DetDataSample, size: Size, num_things: int, num_stuff: int) -> None:
    """Give a training sample of mmdet's pipelines ``gt_panoptic_seg`` and ``gt_segments``.

    A sample that has them stays as it is. Where masks overlap, the smaller one lies on top.
    Ignored instances and crowds, which mmdet keeps out of the masks, become void.

    Args:
        size: (H, W) of the image.

    Raises:
        UserError: the sample holds no ground truth or a part of it.
    """
    if 'gt_panoptic_seg' in sample:
        return
    instances, class_map = sample.get('gt_instances', {}), sample.get('gt_sem_seg')
    has_masks, has_classes = 'masks' in instances, class_map is not None
    if (num_things and not has_masks) or (num_stuff and not has_classes):
        lacking = 'masks of things' if has_classes else 'class map of stuff (gt_sem_seg)'
        lacking = lacking if has_masks or has_classes else 'ground truth'
        raise UserError(
            f'A training sample has no {lacking}: in train_dataloader.dataset.pipeline, put '
            'LoadPanopticIndexMap after LoadImageFromFile and end in PackPanopticInputs, or put '
            'LoadPanopticAnnotations there and end in PackDetInputs.'
        )
    plane, labels = np.full(size, VOID_INDEX, np.int16), []
    if has_masks:
        labels = instances.labels.tolist()
        masks = _of_size(instances.masks.to_ndarray().astype(bool), size)
        for k in np.argsort(-masks.sum((1, 2)), kind='stable'):
            plane[masks[k]] = k
    if has_classes:
        class_map = _of_size(class_map.sem_seg.cpu().numpy(), size)[0]
        free = plane == VOID_INDEX
        stuff = np.arange(num_things, num_things + num_stuff)
        for label in stuff[np.isin(stuff, class_map[free])].tolist():
            plane[free & (class_map == label)] = len(labels)
            labels.append(label)
    seen = np.flatnonzero(np.bincount(plane[plane >= 0]))  # without what smaller things cover
    number = np.full(len(labels) + 1, VOID_INDEX, np.int16)  # the last entry is that of void
    number[seen] = np.arange(len(seen))
    sample.gt_panoptic_seg = PixelData(index_map=torch.from_numpy(number[plane])[None])
    sample.gt_segments = InstanceData(labels=torch.tensor(labels, dtype=torch.int64)[seen])


def pad_masks(sample: DetDataSample, size: Size) -> None:
    """Pad masks with 0 and the class map with 255 to ``size``, as mmdet's preprocessor does."""
    if 'masks' in sample.get('gt_instances', ()):
        sample.gt_instances.masks = sample.gt_instances.masks.pad(size, pad_val=0)
    if 'gt_sem_seg' in sample:
        class_map = sample.gt_sem_seg.sem_seg
        below, right = (full - side for full, side in zip(size, class_map.shape[-2:]))
        padded = F.pad(class_map, (0, right, 0, below), value=MMDET_VOID)
        sample.gt_sem_seg = PixelData(sem_seg=padded)


def _of_size(planes: np.ndarray, size: Size) -> np.ndarray:
    if planes.shape[1:] != tuple(size):
        raise UserError(
            f'The ground truth of a training sample is {planes.shape[2]} x {planes.shape[1]} '
            f'pixels but its image is {size[1]} x {size[0]}: take SegRescale, or what else scales '
            'one of them, out of train_dataloader.dataset.pipeline.'
        )
    return planes
