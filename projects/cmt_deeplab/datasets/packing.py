"""From the results of a pipeline to what a model reads: the image as a tensor, the ground truth as one index plane and K labels."""

from collections.abc import Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

from cmt_deeplab.coco_format import INSTANCE_OFFSET
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import image_tensor
from cmt_deeplab.structures import VOID_INDEX

from .index_plane import present_segments, renumber


class PanopticIndexData(PixelData):
    """Ground truth of one image: the field ``index_map`` (1, H, W) int16, the metainfo ``labels`` (K ints) and ``num_classes``."""

    @property
    def sem_seg(self) -> np.ndarray:
        """mmdet's panoptic map (1, H, W) int32, label + 1000 (k + 1), void and padding = number of classes; computed on access.

        An array, because mmdet's visualizer hands ground truth to numpy as it is (predictions it converts).
        """
        labels = np.asarray(self.labels, np.int32)
        lut = np.append(
            labels + INSTANCE_OFFSET * np.arange(1, len(labels) + 1), self.num_classes
        ).astype(np.int32)
        index = torch.as_tensor(self.index_map).cpu().numpy()
        return lut[np.where(index >= 0, index, len(labels))]


@TRANSFORMS.register_module()
class PackPanopticInputs(BaseTransform):
    """Pack ``img`` and the index plane into ``inputs`` (3, H, W) and a ``DetDataSample`` with ``gt_panoptic_seg`` and ``gt_segments``.

    ``gt_segments`` has ``labels`` (K,) int64, ``is_crowd`` (K,) bool and ``ids`` (K,) int64, the ids of the PNG. With ``crowd_as_void``
    (training) crowds become void and segments that have no pixel left are dropped, so that ``index_map`` holds exactly 0..K-1; without it
    (evaluation) the plane stays as it was loaded, crowds included, and must have the original size.

    Raises:
        ValueError: if the plane does not have the size of the image (training) or of the original image (evaluation).
    """

    def __init__(
        self,
        *,
        crowd_as_void: bool = True,
        meta_keys: Sequence[str] = (
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
            'fit_to_input',
        ),
    ) -> None:
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
            if 'img' in results and plane.shape != results['img'].shape[:2]:
                raise UserError(
                    f'The index plane is {plane.shape} and the image {results["img"].shape[:2]}: in a training pipeline put '
                    'LoadPanopticIndexMap before every transform that changes the geometry, or set crowd_as_void=False for '
                    'evaluation.'
                )
            plane, segments = drop_crowds_and_absent(plane, segments)
        elif plane.shape != tuple(results['ori_shape'][:2]):
            raise UserError(
                f'The index plane is {plane.shape} but the original image {tuple(results["ori_shape"][:2])}: for evaluation '
                'put LoadPanopticIndexMap after the resize.'
            )
        labels = [s['label'] for s in segments]
        sample.gt_panoptic_seg = PanopticIndexData(
            metainfo=dict(labels=tuple(labels), num_classes=results['num_classes']),
            index_map=torch.from_numpy(np.ascontiguousarray(plane, dtype=np.int16))[None],
        )
        sample.gt_segments = InstanceData(
            labels=torch.tensor(labels, dtype=torch.int64),
            is_crowd=torch.tensor([bool(s['is_crowd']) for s in segments], dtype=torch.bool),
            ids=torch.tensor([s['id'] for s in segments], dtype=torch.int64),
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(crowd_as_void={self.crowd_as_void}, meta_keys={self.meta_keys})'
        )


def drop_crowds_and_absent(plane: np.ndarray, segments: Sequence[dict]):
    """Crowds become void, segments without a pixel go; the rest is renumbered 0..K-1 in the same order."""
    keep = present_segments(plane, len(segments)) & ~np.array(
        [bool(s['is_crowd']) for s in segments], bool
    )
    if not keep.all():
        plane = renumber(plane, np.where(keep, np.cumsum(keep) - 1, VOID_INDEX).astype(np.int16))
    return plane, [s for s, kept in zip(segments, keep) if kept]
