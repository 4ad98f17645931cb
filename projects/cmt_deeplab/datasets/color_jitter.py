"""Color jitter on images of 8 bits."""

import cv2
import numpy as np
from mmcv.transforms.utils import cache_randomness
from mmdet.registry import TRANSFORMS

from cmt_deeplab.errors import UserError

from .base_transform import PanopticTransform

LEVELS = np.arange(256, dtype=np.float32)
BRIGHTNESS_DELTA = 32  # gray levels
CONTRAST_DELTA = SATURATION_DELTA = 0.5  # factors from 0.5 to 1.5


def _table(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


@TRANSFORMS.register_module()
class PanopticColorJitter(PanopticTransform):
    """Random brightness, contrast, saturation and hue, each with probability 1/2, as in SSD.

    Contrast comes before or after the others. mmdet's ``PhotoMetricDistortion`` does the same in
    floating point. Here tables of 256 levels do it: the image stays uint8, as the batch needs it,
    at a fraction of the cost. ``hue_delta`` is in degrees.
    """

    def __init__(self, *, hue_delta: float = 18) -> None:
        self.hue_delta = hue_delta

    @cache_randomness
    def _draw(self) -> tuple[float, float, float, float, bool]:
        """Brightness, contrast, saturation, hue, and whether contrast comes last.

        Where a coin decides against a change, its neutral value is returned.
        """
        coins = np.random.rand(5) < 0.5
        neutral = np.array([0, 1, 1, 0])
        delta = np.array([BRIGHTNESS_DELTA, CONTRAST_DELTA, SATURATION_DELTA, self.hue_delta])
        drawn = np.random.uniform(neutral - delta, neutral + delta)
        return *np.where(coins[:4], drawn, neutral).tolist(), bool(coins[4])

    def transform(self, results: dict) -> dict:
        brightness, contrast, saturation, hue, contrast_last = self._draw()
        image = results['img']
        if image.dtype != np.uint8 or image.shape[2:] != (3,):
            raise UserError(
                f'PanopticColorJitter finds an image of the shape {image.shape} and the type '
                f'{image.dtype}, but changes colors (H, W, 3) of uint8: put it before transforms '
                "that give others, and load with color_type='color' and to_float32=False."
            )
        early, late = (1, contrast) if contrast_last else (contrast, 1)
        if brightness or early != 1:
            image = cv2.LUT(image, _table((LEVELS + brightness) * early))
        if saturation != 1 or hue:
            hue_table = (LEVELS + hue / 2) % 180  # OpenCV's 8-bit hue is half the degrees
            tables = [_table(hue_table) % 180, _table(LEVELS * saturation), _table(LEVELS)]
            hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), np.dstack(tables))
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        if late != 1:
            image = cv2.LUT(image, _table(LEVELS * late))
        results['img'] = image
        return results
