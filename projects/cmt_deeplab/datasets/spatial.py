"""Geometry on two arrays only: the image (bilinear) and its index plane (nearest at the same pixel centers). No mask is ever built."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import fitted_size, fitting_scale, resize_image

from .index_plane import resize_plane

Size = tuple[int, int]  # height, width


def size_of(results: dict, own: Sequence[int] | None, key: str, name: str) -> Size:
    """The transform's own (height, width) or the data set's ``image_size``.

    Raises:
        ValueError: if neither is given.
    """
    size = own if own is not None else results.get('image_size')
    if size is None:
        raise UserError(
            f'{name} has no {key}: give it one, or give image_size=(height, width) to the data set (PanopticIndexDataset).'
        )
    return int(size[0]), int(size[1])


def resize_results(results: dict, height: int, width: int) -> None:
    """Bring image and plane to (height, width) in place."""
    old_height, old_width = results['img'].shape[:2]
    results['img'] = resize_image(results['img'], height, width)
    if 'gt_index_map' in results:
        results['gt_index_map'] = resize_plane(results['gt_index_map'], height, width)
    before = results.get('scale_factor', (1.0, 1.0))
    results['scale_factor'] = (
        before[0] * width / old_width,
        before[1] * height / old_height,
    )  # (w, h), as mmdet
    results['img_shape'] = (height, width)


def crop_results(results: dict, top: int, left: int, height: int, width: int) -> None:
    window = (slice(top, top + height), slice(left, left + width))
    for key in ('img', 'gt_index_map'):
        if key in results:
            results[key] = results[key][window]
    results['img_shape'] = results['img'].shape[:2]


@TRANSFORMS.register_module()
class PanopticResize(BaseTransform):
    """Resize to ``size`` (height, width), by default the data set's ``image_size``; with ``keep_ratio`` to the largest size that fits.

    An image that comes from no data set (mmdet's inference API) has no ``image_size``. It is left as it is and marked ``fit_to_input``: the
    data preprocessor, which knows the input size, resizes it.
    """

    def __init__(self, *, size: Sequence[int] | None = None, keep_ratio: bool = True) -> None:
        self.size = size
        self.keep_ratio = keep_ratio

    def transform(self, results: dict) -> dict:
        if (
            self.size is None and not {'image_size', 'sample_idx'} & results.keys()
        ):  # mmengine's data sets number their samples
            results['fit_to_input'] = True
            return results
        height, width = size_of(results, self.size, 'size', type(self).__name__)
        if self.keep_ratio:
            height, width = fitted_size(results['img'].shape[:2], (height, width))
        resize_results(results, height, width)
        results['keep_ratio'] = self.keep_ratio
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(size={self.size}, keep_ratio={self.keep_ratio})'


@TRANSFORMS.register_module()
class PanopticRandomFlip(BaseTransform):
    """Mirror left and right with probability ``prob``."""

    def __init__(self, *, prob: float = 0.5) -> None:
        self.prob = prob

    @cache_randomness
    def _flips(self) -> bool:
        return bool(np.random.rand() < self.prob)

    def transform(self, results: dict) -> dict:
        results['flip'] = self._flips()
        results['flip_direction'] = 'horizontal' if results['flip'] else None
        if results['flip']:
            for key in ('img', 'gt_index_map'):
                if key in results:
                    results[key] = cv2.flip(results[key], 1)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


@TRANSFORMS.register_module()
class PanopticRandomCrop(BaseTransform):
    """Cut a window of ``crop_size`` (height, width), by default the data set's ``image_size``, anywhere; smaller images stay."""

    def __init__(self, *, crop_size: Sequence[int] | None = None) -> None:
        self.crop_size = crop_size

    @cache_randomness
    def _corner(self, free: Size) -> Size:
        return int(np.random.randint(0, free[0] + 1)), int(np.random.randint(0, free[1] + 1))

    def transform(self, results: dict) -> dict:
        crop = size_of(results, self.crop_size, 'crop_size', type(self).__name__)
        h, w = results['img'].shape[:2]
        height, width = min(crop[0], h), min(crop[1], w)
        top, left = self._corner((h - height, w - width))
        crop_results(results, top, left, height, width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(crop_size={self.crop_size})'


@TRANSFORMS.register_module()
class PanopticLargeScaleJitter(PanopticRandomCrop):
    """Fit the image into ``crop_size``, scale it at random and cut a random window of ``crop_size``.

    The factor is drawn from ``scale_range`` (low, high) uniformly. With ``scale_step`` it is one of
    low, low + step, ..., high, as in deeplab2 (``get_random_scale``), which divides the range
    evenly where the step does not. An image that comes out smaller than the crop is left so: the
    data preprocessor pads it.
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
        # The small summand keeps 1.4 / 0.1, which is 13.99... in floating point, at 14 steps.
        steps = int((high - low) / self.scale_step + 1e-6)
        return float(np.random.choice(np.linspace(low, high, steps + 1)))

    def transform(self, results: dict) -> dict:
        crop = size_of(results, self.crop_size, 'crop_size', type(self).__name__)
        h, w = results['img'].shape[:2]
        scale = self._factor() * fitting_scale((h, w), crop)
        resize_results(results, max(int(h * scale + 0.5), 1), max(int(w * scale + 0.5), 1))
        return super().transform(results)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(crop_size={self.crop_size}, scale_range={self.scale_range}, '
            f'scale_step={self.scale_step})'
        )
