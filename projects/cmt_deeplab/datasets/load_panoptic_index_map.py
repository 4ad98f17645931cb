"""From the panoptic PNG of an image to its segment-index plane."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from mmdet.datasets.transforms import LoadPanopticAnnotations
from mmdet.registry import TRANSFORMS
from mmdet.structures.mask import BitmapMasks
from mmengine.fileio import get

from cmt_deeplab.coco_format import check_same_ids, check_same_size, read_id_plane
from cmt_deeplab.errors import UserError
from cmt_deeplab.planes import PlaneRuns
from cmt_deeplab.structures import MMDET_VOID

from .base_transform import PanopticTransform
from .index_plane import MAX_SEGMENTS, index_plane
from .plane_cache import read_plane


@TRANSFORMS.register_module()
class LoadPanopticIndexMap(PanopticTransform):
    """Read ``seg_map_path`` into the index plane ``gt_index_map`` (H, W) int16.

    The plane holds k where a pixel belongs to segment k of ``gt_segments_info``, and -1 on void.
    That list is the ``segments_info`` that ``PanopticIndexDataset`` provides: ``label``,
    ``is_crowd``, ``of_thing_class`` and ``id`` of each segment, crowds included. A segment with
    the ``area`` 0 may be absent from the PNG. Where the data set has a ``plane_cache``, that is
    read in place of the PNG. Without a ``seg_map_path`` (inference on plain images) nothing is
    loaded.

    In a test pipeline this transform comes after the resize, because the ground truth of an
    evaluation stays at the original size.

    Raises:
        MissingFileError: the PNG does not exist.
        UserError: the PNG is damaged, or its size or ids differ from those of the image or the
            annotation file.
    """

    def __init__(self, *, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results.get('seg_map_path')
        if path is None:
            return results
        segments = results['segments_info']
        if any('is_crowd' not in segment for segment in segments):
            raise UserError(
                f'LoadPanopticIndexMap cannot tell which segments of {path} are crowds: use the '
                'data set type PanopticIndexDataset.'
            )
        if len(segments) > MAX_SEGMENTS:
            raise UserError(
                f'{path} has {len(segments)} segments, but an index plane holds at most '
                f'{MAX_SEGMENTS}: split the image.'
            )
        plane, unlisted, absent = index_plane(_ids(self, results), [s['id'] for s in segments])
        absent -= {s['id'] for s in segments if s.get('area') == 0}
        listed_in = f'segments_info of image {results.get("img_id")}'
        check_same_ids(unlisted, absent, png=path, listed_in=listed_in)
        results['gt_index_map'] = plane
        results['gt_segments_info'] = segments
        return results


def _ids(loader: LoadPanopticIndexMap | LoadPanopticAnnotations, info: dict) -> PlaneRuns:
    path, check_size = info['seg_map_path'], partial(check_png_size, info=info)
    if 'plane_entry' in info:
        ids = read_plane(info['plane_entry'], path)
        check_size(ids.shape)
        return ids
    read = partial(get, backend_args=loader.backend_args)
    return PlaneRuns.of(read_id_plane(path, read=read, check_size=check_size))


def load_masks_and_class_map(self: LoadPanopticAnnotations, results: dict) -> None:
    """As in mmdet, but the PNG is read and checked as by :class:`LoadPanopticIndexMap`."""
    if results.get('seg_map_path') is None:
        return
    runs, segments = _ids(self, results), results['segments_info']
    ids = runs.plane(runs.values.astype(np.int32))
    if self.with_mask:
        masks = [(ids == s['id']).astype(np.uint8) for s in segments if s.get('is_thing')]
        results['gt_masks'] = BitmapMasks(masks, *ids.shape)
    if self.with_seg:
        results['gt_seg_map'] = np.full_like(ids, MMDET_VOID)
        for segment in segments:
            results['gt_seg_map'][ids == segment['id']] = segment['category']


LoadPanopticAnnotations._load_masks_and_semantic_segs = load_masks_and_class_map


def check_png_size(size: Sequence[int], info: dict) -> None:
    """Refuse a PNG of ``size`` (H, W) that suits neither the annotation file nor the image."""
    remedy = 'make image, PNG and annotation file agree'
    expected = {}
    if 'height' in info:
        expected['its size in the annotation file'] = info['height'], info['width']
    if 'ori_shape' in info:
        expected[f'the image {info["img_path"]}'] = info['ori_shape'][:2]
    for other, shape in expected.items():
        check_same_size(info['seg_map_path'], size, other, shape, remedy)
