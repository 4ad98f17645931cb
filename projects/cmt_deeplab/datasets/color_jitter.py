"""Color jitter on uint8."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

LEVELS = np.arange(256, dtype=np.float32)


def _table(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class PanopticColorJitter(BaseTransform):
    """Random brightness, contrast, saturation and hue, each with probability 1/2, contrast first or last [SSD].

    What mmdet's ``PhotoMetricDistortion`` does in floating point is done in tables of 256 levels here: the image stays uint8, as a batch
    needs it, and costs a fraction. Hue in degrees, brightness in gray levels.
    """

    def __init__(
        self,
        *,
        brightness_delta: float = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: float = 18,
    ) -> None:
        self.brightness_delta = brightness_delta
        self.contrast_range = tuple(contrast_range)
        self.saturation_range = tuple(saturation_range)
        self.hue_delta = hue_delta

    @cache_randomness
    def _draw(self) -> tuple[float, float, float, float, bool]:
        """Brightness, contrast, saturation, hue (their neutral values where the coin says no) and whether contrast comes last."""
        coins = np.random.rand(5) < 0.5
        drawn = (
            np.random.uniform(-self.brightness_delta, self.brightness_delta),
            np.random.uniform(*self.contrast_range),
            np.random.uniform(*self.saturation_range),
            np.random.uniform(-self.hue_delta, self.hue_delta),
        )
        return (
            *(
                float(value) if coin else neutral
                for value, neutral, coin in zip(drawn, (0.0, 1.0, 1.0, 0.0), coins)
            ),
            bool(coins[4]),
        )

    def transform(self, results: dict) -> dict:
        brightness, contrast, saturation, hue, contrast_last = self._draw()
        image = results['img']
        first = LEVELS + brightness if contrast_last else (LEVELS + brightness) * contrast
        if brightness or (contrast != 1 and not contrast_last):
            image = cv2.LUT(image, _table(first))
        if saturation != 1 or hue:
            hue_table = (LEVELS + hue / 2) % 180  # OpenCV's 8-bit hue is half the degrees
            tables = np.stack(
                [_table(hue_table) % 180, _table(LEVELS * saturation), LEVELS.astype(np.uint8)],
                axis=-1,
            )
            image = cv2.cvtColor(
                cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), tables[None]), cv2.COLOR_HSV2BGR
            )
        if contrast_last and contrast != 1:
            image = cv2.LUT(image, _table(LEVELS * contrast))
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(brightness_delta={self.brightness_delta}, contrast_range={self.contrast_range}, '
            f'saturation_range={self.saturation_range}, hue_delta={self.hue_delta})'
        )
