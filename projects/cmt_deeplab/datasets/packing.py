"""From the results of a pipeline to what a model reads.

That is the image as a tensor, and the ground truth as one index plane and K labels.
"""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from cmt_deeplab.coco_format import check_same_size, map_value
from cmt_deeplab.geometry import image_tensor
from cmt_deeplab.structures import VOID_INDEX

from .base_transform import PanopticTransform
from .index_plane import without_segments

META_KEYS = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
    'fit_to_input',
)


class PanopticIndexData(PixelData):
    """Ground truth of one image.

    ``index_map`` (1, H, W) int16 is a field; ``labels`` (K ints) and ``num_classes`` are metainfo.
    """

    @property
    def sem_seg(self) -> np.ndarray:
        """mmdet's panoptic map (1, H, W) int32, computed on access.

        Segment k has the value ``map_value(label, k + 1)``; void and padding have the number
        of classes. It is an array, because mmdet's visualizer hands ground truth to numpy as it is,
        while it converts predictions.
        """
        values = [map_value(label, k) for k, label in enumerate(self.labels, start=1)]
        values = np.array([*values, self.num_classes], np.int32)  # -1 is the last entry
        return values[np.maximum(torch.as_tensor(self.index_map).cpu().numpy(), VOID_INDEX)]


@TRANSFORMS.register_module()
class PackPanopticInputs(PanopticTransform):
    """Pack image and index plane into ``inputs`` (3, H, W) and a ``DetDataSample``.

    The sample has ``gt_panoptic_seg`` (:class:`PanopticIndexData`) and ``gt_segments`` with
    ``labels`` (K,) int64, ``is_crowd`` (K,) bool and ``ids`` (K,) int64, the ids of the PNG. Its
    ``gt_instances`` are empty: mmdet's browse_dataset.py asks for them, whatever the data are.

    With ``crowd_as_void`` (training) crowds become void and segments that have no pixel left are
    dropped, so that ``index_map`` holds exactly 0..K-1. Without it (evaluation) the plane stays as
    it was loaded, crowds included, and must have the original size.

    Raises:
        UserError: the plane does not have the size of the image (training) or of the original
            image (evaluation).
    """

    def __init__(self, *, crowd_as_void: bool = True, meta_keys: Sequence[str] = META_KEYS) -> None:
        self.crowd_as_void = crowd_as_void
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict) -> dict:
        packed = {}
        sample = DetDataSample(
            metainfo={key: results[key] for key in self.meta_keys if key in results}
        )
        if 'img' in results:
            packed['inputs'] = image_tensor(results['img'])
        if 'gt_index_map' in results:
            self._pack_truth(results, sample)
        packed['data_samples'] = sample
        return packed

    def _pack_truth(self, results: dict, sample: DetDataSample) -> None:
        plane, segments = results['gt_index_map'], results['gt_segments_info']
        if self.crowd_as_void:
            other, size = 'the image', np.shape(results.get('img', plane))[:2]
            remedy = (
                'in a training pipeline put LoadPanopticIndexMap before every transform that '
                'changes the geometry, or set crowd_as_void=False for evaluation'
            )
        else:
            other, size = 'the original image', results['ori_shape'][:2]
            remedy = 'for evaluation put LoadPanopticIndexMap after the resize'
        check_same_size('The index plane', plane.shape, other, size, remedy)
        plane = np.ascontiguousarray(plane, dtype=np.int16)
        if self.crowd_as_void:
            plane, segments = drop_crowds_and_absent(plane, segments)
        labels = [s['label'] for s in segments]
        sample.gt_panoptic_seg = PanopticIndexData(
            metainfo=dict(labels=tuple(labels), num_classes=results['num_classes']),
            index_map=torch.from_numpy(plane)[None],
        )
        sample.gt_segments = InstanceData(
            labels=torch.tensor(labels, dtype=torch.int64),
            is_crowd=torch.tensor([s['is_crowd'] for s in segments], dtype=torch.bool),
            ids=torch.tensor([s['id'] for s in segments], dtype=torch.int64),
        )
        sample.gt_instances = InstanceData()


def drop_crowds_and_absent(
    plane: np.ndarray, segments: Sequence[dict]
) -> tuple[np.ndarray, list[dict]]:
    """Make crowds void and drop segments without a pixel; the rest is renumbered in order."""
    is_crowd = np.array([s['is_crowd'] for s in segments], bool)
    plane, kept = without_segments(plane, is_crowd)
    return plane, [s for s, keep in zip(segments, kept) if keep]
