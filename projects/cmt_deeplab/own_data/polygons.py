"""Masks of polygons, ellipses and run lengths, as COCO's own tools rasterize them."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

from cmt_deeplab.errors import UserError

from .annotated import Region, Segment

FARTHEST = 2  # sides of the image that a point may lie outside of it
CORNERS = 64  # of the polygon in place of an ellipse


def polygon_region(
    segment: Segment,
    polygons: Sequence[Sequence[float]],
    size: tuple[int, int],
    where: str,
    *,
    level: int = 0,
) -> Region:
    """The pixels whose centers lie in one of the polygons [x1, y1, x2, y2, ...].

    A coordinate is a distance from the left or upper edge of the image, so that (0, 0) is the
    corner of the first pixel. What lies outside of the image is cut off.

    Raises:
        UserError: a polygon, which is that of ``where``, has fewer than three points, or points
            that are no numbers or lie far outside of the image.
    """
    sides = np.array(size[::-1])
    outlines = []
    for polygon in polygons:
        try:
            points = np.array(polygon, float).reshape(-1, 2)
        except (TypeError, ValueError):
            points = np.full((1, 2), np.nan)
        if len(points) < 3:
            raise UserError(
                f'{where} is no polygon (x1, y1, x2, y2, ... of at least three points): draw it '
                'again, or take it out.'
            )
        if not ((points >= -FARTHEST * sides) & (points <= (1 + FARTHEST) * sides)).all():
            raise UserError(
                f'{where} has points that are no numbers or lie far outside of the image of '
                f'{size[1]} x {size[0]} pixels: check the scale of the coordinates and the image.'
            )
        outlines.append(points)
    every = np.concatenate(outlines) if outlines else np.zeros((1, 2))
    low = np.clip(np.floor(every.min(0)).astype(int), 0, sides)
    high = np.clip(np.ceil(every.max(0)).astype(int), low, sides)
    (left, top), (width, height) = low, high - low
    if not width or not height:
        return Region(segment, np.zeros((0, 0), bool), level=level)
    shifted = [(points - low).ravel().tolist() for points in outlines]
    runs = coco_mask.merge(coco_mask.frPyObjects(shifted, int(height), int(width)))
    return Region(segment, coco_mask.decode(runs).astype(bool), (int(top), int(left)), level)


def ellipse(center: Sequence[float], radii: Sequence[float], degrees: float = 0) -> list[float]:
    """A polygon in place of an ellipse, turned by ``degrees`` clockwise around its center."""
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii
    return turned(points + center, degrees, center)


def rectangle(
    left: float, top: float, right: float, bottom: float, degrees: float = 0, around: object = None
) -> list[float]:
    """The corners of a box, turned by ``degrees`` clockwise around its first or a given point."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], float)
    return turned(corners, degrees, corners[0] if around is None else around)


def turned(points: np.ndarray, degrees: float, around: object) -> list[float]:
    """Points (N, 2) turned clockwise, as [x1, y1, ...]."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return ((points - around) @ [[cos, sin], [-sin, cos]] + around).ravel().tolist()


def united(regions: Sequence[Region]) -> Region:
    """One region of several, with the segment and the level of the first one."""
    first = regions[0]
    if len(regions) == 1:
        return first
    spans = [(*r.corner, *np.add(r.corner, r.mask.shape)) for r in regions if r.mask.size]
    if not spans:
        return first
    top, left, *_ = np.min(spans, axis=0)
    *_, bottom, right = np.max(spans, axis=0)
    mask = np.zeros((bottom - top, right - left), bool)
    for region in regions:
        (y, x), (height, width) = np.subtract(region.corner, (top, left)), region.mask.shape
        if region.mask.size:
            mask[y : y + height, x : x + width] |= region.mask
    return Region(first.segment, mask, (int(top), int(left)), first.level)
