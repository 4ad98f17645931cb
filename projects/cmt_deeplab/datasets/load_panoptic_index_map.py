"""From the panoptic PNG of an image to its segment-index plane."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS
from mmengine.fileio import get

from cmt_deeplab.errors import MissingFileError, UserError

from .image_file import damage
from .index_plane import MAX_SEGMENTS, index_plane, png_ids


def _listed(ids: np.ndarray) -> str:
    return ', '.join(str(i) for i in ids[:3]) + (
        f' and {len(ids) - 3} more' if len(ids) > 3 else ''
    )


@TRANSFORMS.register_module()
class LoadPanopticIndexMap(BaseTransform):
    """Read ``seg_map_path`` into ``gt_index_map`` (H, W) int16, k of ``gt_segments_info`` (crowds are segments here), -1 void.

    ``gt_segments_info`` is the list of ``dict(label, is_crowd, of_thing_class, id, category_id)`` that ``PanopticIndexDataset`` provides as
    ``segments_info``. Without a ``seg_map_path`` (inference on plain images) nothing is loaded.

    In a test pipeline this comes after the resize: the ground truth of an evaluation stays at the original size.

    Raises:
        FileNotFoundError: if the PNG is missing.
        ValueError: if the PNG is damaged, or its size or ids differ from the image's or the annotation file's.
    """

    def __init__(self, *, backend_args: dict | None = None) -> None:
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results.get('seg_map_path')
        if path is None:
            return results
        segments = [self._segment(info, path) for info in results['segments_info']]
        if len(segments) > MAX_SEGMENTS:
            raise UserError(
                f'{path} has {len(segments)} segments, but an index plane holds at most {MAX_SEGMENTS}: split the image.'
            )
        png = self._read(path, results.get('img_id'))
        self.check_size(png.shape[:2], results, path)
        plane, unknown, unseen = index_plane(png_ids(png), [s['id'] for s in segments])
        if len(unknown):
            raise UserError(
                f'{path} holds the segment id {_listed(unknown)}, which segments_info of image {results.get("img_id")} does '
                'not list: annotation file and PNG folder must come from the same release.'
            )
        if len(unseen):
            raise UserError(
                f'segments_info of image {results.get("img_id")} lists the segment id {_listed(unseen)}, which no pixel of '
                f'{path} has: annotation file and PNG folder must come from the same release.'
            )
        results['gt_index_map'] = plane
        results['gt_segments_info'] = segments
        return results

    @staticmethod
    def _segment(info: dict, path: str) -> dict:
        if 'is_crowd' not in info or 'category_id' not in info:
            raise UserError(
                f'LoadPanopticIndexMap cannot tell which segments of {path} are crowds: use the data set type '
                'PanopticIndexDataset.'
            )
        return dict(
            label=info['category'],
            is_crowd=info['is_crowd'],
            of_thing_class=info['of_thing_class'],
            id=info['id'],
            category_id=info['category_id'],
        )

    def _read(self, path: str, image_id) -> np.ndarray:
        import cv2

        try:
            data = get(path, backend_args=self.backend_args)
        except FileNotFoundError:
            raise MissingFileError(
                f'{path} does not exist: put the panoptic PNG of image {image_id} there or correct data_prefix.seg of '
                'the data set.'
            ) from None
        problem = damage(data)
        png = None if problem else cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if png is None:
            raise UserError(
                f'The panoptic PNG {path} {problem or "cannot be decoded"}: fetch or write it again.'
            )
        return png

    @staticmethod
    def check_size(size: tuple[int, int], results: dict, path: str) -> None:
        """Raises the ``ValueError`` if a PNG of ``size`` (height, width) does not suit the annotation file or the image."""
        named: list = [('the annotation file', (results.get('height'), results.get('width')))]
        if 'ori_shape' in results:
            named.append((f'the image {results.get("img_path")}', tuple(results['ori_shape'][:2])))
        for name, expected in named:
            if None not in expected and tuple(size) != expected:
                raise UserError(
                    f'{path} is {size[1]}x{size[0]} pixels but {name} says {expected[1]}x{expected[0]}: make image, PNG and '
                    'annotation file agree (an image with an EXIF rotation must be rotated on disk).'
                )

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
