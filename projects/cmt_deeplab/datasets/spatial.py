"""Geometry on two arrays: the image (bilinear) and its index plane (nearest at pixel centers).

No mask is ever built.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size, as_size, fitted_size, resize_image

from .base_transform import PanopticTransform
from .index_plane import resize_plane


def fit_results(results: dict, size: Size, factor: float = 1.0) -> None:
    """Resize image and plane in place, so that they fit into ``size``, times ``factor``."""
    old_height, old_width = full_size(results)
    height, width = fitted_size((old_height, old_width), size, factor)
    results['img'] = resize_image(results['img'], height, width)
    if 'gt_index_map' in results:
        results['gt_index_map'] = resize_plane(results['gt_index_map'], height, width)
    scale_x, scale_y = results.get('scale_factor', (1.0, 1.0))  # width first, as in mmdet
    results['scale_factor'] = (scale_x * width / old_width, scale_y * height / old_height)
    results['img_shape'] = (height, width)


def full_size(results: dict) -> Size:
    """The size of the image, also of one that was decoded at a part of it.

    Raises:
        UserError: a transform has moved such an image.
    """
    shape, reduced = results['img'].shape[:2], results.pop('reduced_by', 1)
    full = results['ori_shape'] if reduced > 1 else shape
    if any(-(-side // reduced) != found for side, found in zip(full, shape)):
        raise UserError(
            'A transform between PanopticDrawScale and PanopticLargeScaleJitter changes the size '
            'of the image: put PanopticLargeScaleJitter before it.'
        )
    return full


class SizedTransform(PanopticTransform):
    """A transform with a size (height, width) of its own, or else the one of the data set."""

    def __init__(self, *, size: Sequence[int] | None = None) -> None:
        self.size = size and as_size(size, f'The size of {type(self).__name__}')

    def size_for(self, results: dict) -> Size:
        """The transform's own size or the ``image_size`` of the data set.

        Raises:
            UserError: neither is given.
        """
        size = self.size or results.get('image_size')
        if size is None:
            raise UserError(
                f'{type(self).__name__} has no size: give it one (crop_size for a crop), or '
                'give image_size=(height, width) to the data set (PanopticIndexDataset).'
            )
        return int(size[0]), int(size[1])

    def box_for(self, results: dict) -> Size:
        """What images are fitted into; with ``own_scale`` of the data set the image itself."""
        full = results['img'].shape[:2] if 'reduced_by' not in results else results['ori_shape']
        return full if results.get('own_scale') else self.size_for(results)


@TRANSFORMS.register_module()
class PanopticResize(SizedTransform):
    """Resize to the largest size of the same aspect ratio that fits into ``size``.

    ``size`` (height, width) is by default the ``image_size`` of the data set, with whose
    ``own_scale`` images keep their size. An image that comes from no data set (mmdet's inference
    API) has none. It is left as it is and marked ``fit_to_input``: the data preprocessor, which
    knows the input size, resizes it.
    """

    def transform(self, results: dict) -> dict:
        # mmengine's data sets number their samples.
        if self.size is None and not {'image_size', 'sample_idx'} & results.keys():
            results['fit_to_input'] = True
            return results
        fit_results(results, self.box_for(results))
        return results


@TRANSFORMS.register_module()
class PanopticRandomFlip(PanopticTransform):
    """Mirror left and right with probability ``prob``."""

    def __init__(self, *, prob: float = 0.5) -> None:
        self.prob = prob

    @cache_randomness
    def _flips(self) -> bool:
        return bool(np.random.rand() < self.prob)

    def transform(self, results: dict) -> dict:
        flip = self._flips()
        results.update(flip=flip, flip_direction='horizontal' if flip else None)
        for key in {'img', 'gt_index_map'} & results.keys() if flip else ():
            results[key] = cv2.flip(results[key], 1)
        return results


@TRANSFORMS.register_module()
class PanopticRandomCrop(SizedTransform):
    """Cut a window of ``crop_size`` anywhere; smaller images stay.

    ``crop_size`` (height, width) is by default the ``image_size`` of the data set.
    """

    def __init__(self, *, crop_size: Sequence[int] | None = None) -> None:
        super().__init__(size=crop_size)

    @cache_randomness
    def _corner(self, free: Size) -> Size:
        return int(np.random.randint(0, free[0] + 1)), int(np.random.randint(0, free[1] + 1))

    def transform(self, results: dict) -> dict:
        shape = results['img'].shape[:2]
        height, width = map(min, self.size_for(results), shape)
        top, left = self._corner((shape[0] - height, shape[1] - width))
        for key in {'img', 'gt_index_map'} & results.keys():
            results[key] = results[key][top : top + height, left : left + width]
        results['img_shape'] = (height, width)
        return results


@TRANSFORMS.register_module()
class PanopticLargeScaleJitter(PanopticRandomCrop):
    """Fit the image into ``crop_size``, scale it at random and cut a window of ``crop_size``.

    With ``own_scale`` of the data set it is not fitted but scaled from its own size. The factor is
    drawn from ``scale_range`` (low, high) uniformly. With ``scale_step`` it is one of the evenly
    spaced numbers of deeplab2 (``get_random_scale``), both ends included: as many as steps fit into
    the range, counted in fp32, in which deeplab2's configs are stored. These are 15 for 0.3 to 1.7
    and for 0.5 to 2.0, and 10 for 0.5 to 1.5, each with a step of 0.1. An image that comes out
    smaller than the crop is left so: the data preprocessor pads it.
    """

    def __init__(
        self,
        *,
        crop_size: Sequence[int] | None = None,
        scale_range: tuple[float, float] = (0.3, 1.7),
        scale_step: float | None = None,
    ) -> None:
        super().__init__(crop_size=crop_size)
        if not 0 < scale_range[0] <= scale_range[1]:
            raise UserError(
                f'scale_range={tuple(scale_range)} of PanopticLargeScaleJitter is no range: give '
                '(low, high) with 0 < low <= high.'
            )
        if scale_step is not None and scale_step <= 0:
            raise UserError(
                f'scale_step={scale_step} of PanopticLargeScaleJitter is no step: give a positive '
                'number, or None for any factor in scale_range.'
            )
        self.scale_range = tuple(scale_range)
        self.scale_step = scale_step

    @cache_randomness
    def _factor(self) -> float:
        low, high = self.scale_range
        if self.scale_step is None:
            return float(np.random.uniform(low, high))
        low, high, step = np.float32([low, high, self.scale_step]).tolist()
        return float(np.random.choice(np.linspace(low, high, int((high - low) / step + 1))))

    def transform(self, results: dict) -> dict:
        factor = results.pop('drawn_factor', None) or self._factor()
        fit_results(results, self.box_for(results), factor)
        return super().transform(results)


@TRANSFORMS.register_module()
class PanopticDrawScale(PanopticLargeScaleJitter):
    """Draw the factor of a ``PanopticLargeScaleJitter`` before the image is loaded.

    So a JPEG that is shrunk at least to a half, a quarter or an eighth is decoded at that size. A
    photograph of 12 million pixels takes a third of the time then; one of COCO little less::

        [dict(type='PanopticDrawScale', scale_range=(0.3, 1.7)),
         dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap'),
         dict(type='PanopticLargeScaleJitter'), ...]

    The factor counts in place of that of the jitter. Pixels are means of those that a full decoding
    would give, while the jitter's own resize leaves some out: images differ by some gray levels.
    """

    def transform(self, results: dict) -> dict:
        full = results['height'], results['width']
        box = full if results.get('own_scale') else self.size_for(results)
        results['drawn_factor'] = factor = self._factor()
        shrunk = min(old / new for old, new in zip(full, fitted_size(full, box, factor)))
        results['reducible_by'] = max(part for part in (1, 2, 4, 8) if part <= max(shrunk, 1))
        return results
