"""Outlines [x1, y1, x2, y2, ...] and run lengths as masks, by COCO's own tools.

A coordinate is a distance in pixels from the left or upper edge of the image, so (0, 0) is the
outer corner of the first pixel.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from cmt_deeplab.coco_format import check_same_size
from cmt_deeplab.errors import UserError

FARTHEST = 2  # how far outside of the image a point may lie, in sides of the image
CORNERS = 64  # of the polygon that replaces an ellipse
Size = tuple[int, int]  # height, width
Outline = Sequence[float]
Placed = tuple[np.ndarray, tuple[int, int]]  # pixels (h, w) bool, and row and column of the first


def rasterized(
    outlines: Sequence[Outline],
    size: Size,
    where: str,
    *,
    holes: Sequence[Outline] = (),
    unit: Sequence[float] = (1, 1),
) -> Placed:
    """The pixels whose centers lie in one of the outlines and in no hole.

    They are cut off at the border of the image. ``unit`` is the length of 1 in x and in y, in
    pixels.

    Raises:
        UserError: an outline of ``where`` has fewer than three points, or points that are no
            numbers or lie far outside of the image.
    """
    sides = np.array(size[::-1])
    points = [_points(outline, where) * unit for outline in (*outlines, *holes)]
    every = np.concatenate(points)
    if not _near(every, sides):
        raise UserError(
            f'{where} has points that are no numbers or lie far outside of the image of '
            f'{size[1]} x {size[0]} pixels: check the scale of the coordinates and the image.'
        )
    low = np.clip(np.floor(every.min(0)).astype(int), 0, sides)
    left, top, width, height = *low, *np.clip(np.ceil(every.max(0)).astype(int), low, sides) - low
    if not width or not height:
        return np.zeros((0, 0), bool), (0, 0)
    shifted = [(outline - low).ravel().tolist() for outline in points]
    runs = coco_mask.frPyObjects(shifted, int(height), int(width))
    inside, hole = (
        coco_mask.decode(coco_mask.merge(part)).astype(bool) if part else False
        for part in (runs[: len(outlines)], runs[len(outlines) :])
    )
    return inside & ~np.bool_(hole), (int(top), int(left))


def _near(points: np.ndarray, sides: np.ndarray) -> bool:
    """Whether points are numbers and none lies far outside of the image, whose sides are given."""
    return bool(((points >= -FARTHEST * sides) & (points <= (1 + FARTHEST) * sides)).all())


def _points(outline: Outline, where: str) -> np.ndarray:
    try:
        points = np.array(outline, float).reshape(-1, 2)
    except (TypeError, ValueError):
        points = ()
    if len(points) < 3:
        raise UserError(
            f'{where} is no polygon (x1, y1, x2, y2, ... of at least three points): draw it '
            'again, or take it out.'
        )
    return points


def ellipse(center: Sequence[float], radii: Sequence[float], degrees: float = 0) -> list[float]:
    """The polygon that replaces an ellipse, turned clockwise by ``degrees`` around its center."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
    return turned(points + center, degrees, center)


def rectangle(
    left: float, top: float, right: float, bottom: float, degrees: float = 0, around: object = None
) -> list[float]:
    """The corners of a box, turned clockwise around the point ``around``, or else the first."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
    return turned(corners, degrees, corners[0] if around is None else around)


def turned(points: np.ndarray, degrees: float, around: object) -> list[float]:
    """Points (N, 2) turned clockwise, as [x1, y1, ...]."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return ((points - around) @ [[cos, sin], [-sin, cos]] + around).ravel().tolist()


def mask_of_pixels(
    outline: Sequence[Sequence[float]], holes: Sequence[Sequence[Sequence[float]]], size: Size
) -> Placed:
    """The pixels in an outline of pixels (x, y), its border included, less those in its holes.

    Supervisely's own tools draw a polygon so, by OpenCV (supervisely, geometry/polygon.py).

    Raises:
        ValueError: a ring has fewer than three points, or some that are no numbers or far outside.
    """
    sides = np.array(size[::-1])
    rings = [np.reshape(np.array(ring, float), (-1, 2)) for ring in (outline, *holes) if len(ring)]
    if not len(outline) or min(map(len, rings)) < 3:
        raise ValueError('a polygon has fewer than three points')
    if not _near(np.concatenate(rings), sides):
        raise ValueError('points are no numbers or lie far outside of the image')
    rings = [np.rint(ring).astype(np.int32) for ring in rings]
    low = np.clip(rings[0].min(0), 0, sides)
    width, height = np.clip(rings[0].max(0) + 1, low, sides) - low
    if not width or not height:
        return np.zeros((0, 0), bool), (0, 0)
    drawn = np.zeros((height, width), np.uint8)
    for value, ring in enumerate(rings):
        cv2.fillPoly(drawn, [ring - low.astype(np.int32)], int(value == 0))
    return drawn.astype(bool), (int(low[1]), int(low[0]))


def mask_of_runs(runs: dict, size: Size) -> Placed:
    """The pixels of COCO's run lengths, compressed or not.

    Raises:
        UserError: they are of another size.
    """
    remedy = 'take image and annotation from one release'
    check_same_size('The mask', runs['size'], 'its image', size, remedy)
    if isinstance(runs['counts'], list):
        if sum(runs['counts']) != size[0] * size[1] or min(runs['counts']) < 0:
            raise ValueError('the run lengths do not sum to the number of pixels')
        runs = coco_mask.frPyObjects(runs, *size)
    return coco_mask.decode(runs).astype(bool), (0, 0)
