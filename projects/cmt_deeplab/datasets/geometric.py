"""Geometric transforms of mmcv and mmdet, applied to the image and to its index plane."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from mmcv.transforms import Resize
from mmdet.registry import TRANSFORMS
from mmengine.dataset import Compose

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MMDET_VOID, PADDING_INDEX, VOID_INDEX

from .base_transform import PanopticTransform
from .index_plane import resize_plane


@TRANSFORMS.register_module()
class PanopticGeometricTransforms(PanopticTransform):
    """Run transforms that move mmdet's ``gt_seg_map`` with the image on the index plane.

    Such are mmcv's and mmdet's ``RandomFlip``, ``Resize``, ``RandomResize``, ``RandomCrop``,
    ``Pad``, ``Rotate``, ``ShearX``, ``TranslateX``, ``AutoAugment``, ``RandAugment`` and others::

        dict(type='PanopticGeometricTransforms', transforms=[
            dict(type='RandomResize', scale=(641, 641), ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type='Rotate', prob=0.5),
        ])

    It stands between ``LoadPanopticIndexMap`` and ``IndexMapToMasks`` or ``PackPanopticInputs``.
    Where a transform writes 255 into the ``gt_seg_map``, mmdet's value beside the image, the plane
    becomes void. Where mmcv resizes, the plane takes the pixel under the center of each new one,
    as the bilinear resize of the image does; mmcv would take the one at its top left corner.

    Raises:
        UserError: there is no plane, masks have been made already, or a transform does not treat
            ``gt_seg_map`` as it treats the image.
    """

    def __init__(self, *, transforms: Sequence[dict | Callable]) -> None:
        self.transforms = Compose(transforms)
        for transform in with_inner(self.transforms):
            if isinstance(transform, PanopticTransform):
                raise UserError(
                    f'{type(transform).__name__} knows the index plane itself: put it beside '
                    'PanopticGeometricTransforms, not into it.'
                )
            if isinstance(transform, Resize):
                transform._resize_seg = _resize_seg
            if getattr(transform, 'seg_ignore_label', MMDET_VOID) is None:  # of mmdet's Expand
                transform.seg_ignore_label = MMDET_VOID

    def transform(self, results: dict) -> dict | None:
        self.require_plane(results)
        if 'gt_seg_map' in results:
            raise UserError(
                'PanopticGeometricTransforms finds masks beside the index plane, which would stay '
                'behind: put it before IndexMapToMasks.'
            )
        for transform in self.transforms.transforms:
            results = _with_plane(transform, results)
            if results is None:  # the data set takes another image
                return None
        return results


def _with_plane(transform: Callable, results: dict) -> dict | None:
    """The results of one transform, which reads and writes the index plane as ``gt_seg_map``."""
    plane = results['gt_index_map']
    seg_map = plane + (plane >= MMDET_VOID)  # so that no segment has the value of void
    results = transform({**results, 'gt_index_map': None, 'gt_seg_map': seg_map})
    if results is None:
        return None
    seg_map, name = results.pop('gt_seg_map'), type(transform).__name__
    if seg_map.shape != results['img'].shape[:2]:
        raise UserError(
            f'{name} changes the size of the image but not that of gt_seg_map, so it cannot be in '
            'PanopticGeometricTransforms: take it out of the pipeline.'
        )
    plane = seg_map - (seg_map > MMDET_VOID)
    plane[seg_map == MMDET_VOID] = VOID_INDEX
    if plane.min() < PADDING_INDEX or plane.max() >= len(results['gt_segments_info']):
        raise UserError(
            f'{name} in PanopticGeometricTransforms writes values into gt_seg_map that are no '
            f'segment ({plane.min()} to {plane.max()}): give it seg_ignore_label={MMDET_VOID}, '
            'or the value for void of whatever name it has.'
        )
    results['gt_index_map'] = plane.astype(np.int16)
    return results


def with_inner(transform: object) -> Iterator[Callable]:
    """A transform and, where it is one of mmcv's and mmdet's wrappers, all those inside it."""
    if isinstance(transform, list | tuple):
        inner = transform
    elif callable(transform):
        yield transform
        inner = [getattr(transform, key, None) for key in ('transforms', 'resize')]
    else:
        return
    for part in inner:
        yield from with_inner(part)


def _resize_seg(results: dict) -> None:
    """In place of mmcv's method of this name, after the image has its new size."""
    if results.get('gt_seg_map') is not None:
        size = results['img'].shape[:2]
        results['gt_seg_map'] = resize_plane(results['gt_seg_map'], *size)
