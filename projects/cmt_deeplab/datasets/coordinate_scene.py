"""A made-up scene that shows whether a transform moves its index plane with its image.

Two images stand for one. They differ on the segments of the plane and nowhere else: one half of
the segments' pixels is dark and the other half bright, and the two images have them the other way
round, so both have the same colors, equally often. A transform that is run on both with the same
random numbers leaves a difference where it has moved the segments to. The plane must have its
segments there. What changes colors only, blurs, or paints over a part of the image does not move
the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import cv2
import numpy as np

from cmt_deeplab.structures import VOID_INDEX

NUM_SEGMENTS = 8
COLORS = np.array(  # of the two halves of the segments, then of what is void; BGR
    [(40, 90, 210), (200, 180, 60), (110, 30, 130), (150, 220, 170), (20, 140, 90), (90, 60, 20)],
    np.uint8,
)
FAINT = 0.02  # of the range of the values: a difference that says nothing
BLURRED_SHARE = 0.04  # of the segments' pixels that may lie elsewhere where edges are not sharp
SHARP_SHARE = 0.01
FEWEST_PIXELS = 8  # of a side that still shows the cells


@dataclass(frozen=True, eq=False)
class Scene:
    """Two images (H, W, 3) uint8 and the plane (H, W) int16 of the segments they differ on."""

    images: tuple[np.ndarray, np.ndarray]
    plane: np.ndarray


def make_scene(rows: int, columns: int, cell: tuple[int, int]) -> Scene:
    """A scene of ``rows`` x ``columns`` cells, each of ``cell`` (height, width) pixels.

    A quarter of the cells is dark, a quarter is bright, and the rest is void; the order is random,
    so that the scene looks like no other part of itself, nor like its mirror image.
    """
    number = rows * columns
    order = np.random.default_rng(0).permutation(number).reshape(rows, columns)
    order = np.kron(order, np.ones(cell, np.int16))
    segments = order < 2 * (number // 4)
    plane = np.where(segments, order % NUM_SEGMENTS, VOID_INDEX).astype(np.int16)
    color = np.where(segments, order % 2, 2 + order % (len(COLORS) - 2))
    other = np.where(segments, 1 - color, color)
    return Scene((COLORS[color], COLORS[other]), plane)


def lies_elsewhere(images: Sequence[np.ndarray], region: np.ndarray, *, sharp: bool = True) -> bool:
    """Whether the two images, as a transform left them, differ elsewhere than in ``region``.

    ``region`` (H, W) bool are the segments of the transformed plane. Pixels count where the images
    differ outside of the region, if as many of the region's are without a difference: one of them
    alone is a blur or a part that was painted over. ``sharp`` counts single pixels at edges that
    nothing has blurred.
    """
    if images[0].dtype != np.uint8:  # OpenCV does not know every type
        images = [image.astype(np.float32) for image in images]
    difference = reduce(np.maximum, cv2.split(cv2.absdiff(*images)))
    peak = difference.max()
    if min(region.shape) < FEWEST_PIXELS or peak <= FAINT * max(map(np.ptp, images)):
        return False
    found, share, grow = difference > peak / 2, SHARP_SHARE, np.ones((1, 1), np.uint8)
    interpolated = (difference > FAINT * peak) & (difference < 0.9 * peak)
    if interpolated.any() or not sharp:
        share, grow = BLURRED_SHARE, np.ones((3, 3), np.uint8)
    outside = found & (cv2.dilate(region.view(np.uint8), grow) == 0)
    without = region & (cv2.dilate(found.view(np.uint8), grow) == 0)
    return min(outside.sum(), without.sum()) > share * region.sum()


def differ_beside(images: Sequence[np.ndarray], region: np.ndarray, other: np.ndarray) -> bool:
    """Whether two images with two unlike regions also differ away from both of these."""
    if np.array_equal(region, other):
        return False
    if region.shape != other.shape or region.shape != images[0].shape[:2]:
        return region.shape != other.shape
    near = cv2.dilate((region | other).view(np.uint8), np.ones((5, 5), np.uint8))
    return bool((np.atleast_3d(images[0] != images[1]).any(-1) & (near == 0)).any())
