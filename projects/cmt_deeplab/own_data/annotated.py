"""The common form of all layouts: images, and for each image a plane of segments.

Masks of segments may overlap; :func:`painted` decides which one is on top.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import find_objects

from cmt_deeplab.coco_format import NUM_IDS, box_of

SPREAD = 0x5BD1E9  # odd, so that its multiples are different ids, and so different colors


@dataclass(frozen=True)
class Segment:
    """One object, or all pixels of a class in an image.

    ``is_crowd`` says of a class of things that these are several objects, not told apart. With
    ``scattered`` they are told apart later: every connected region becomes an object of its own.
    """

    name: str  # of the class
    is_crowd: bool = False
    scattered: bool = False


@dataclass(frozen=True)
class Truth:
    """The plane (H, W) int32 holds k + 1 on the pixels of segment k, and 0 on all others."""

    plane: np.ndarray
    segments: Sequence[Segment]


@dataclass(frozen=True)
class Region:
    """A mask (h, w) bool of a segment, whose upper left pixel is at ``corner`` (row, column).

    Of two objects the one with the higher ``level`` is on top.
    """

    segment: Segment
    mask: np.ndarray
    corner: tuple[int, int] = (0, 0)
    level: int = 0


@dataclass(frozen=True)
class AnnotatedImage:
    """An image and the function that reads its truth, given its size (H, W)."""

    path: Path
    read: Callable[[tuple[int, int]], Truth]
    split: str | None = None  # 'train', 'val' or 'test', if the layout says so


@dataclass
class Layout:
    """A folder of annotated images.

    ``found`` says what it holds, and ``notes`` are sentences on what the user should know.
    ``classes`` tells of each class whether it is a thing, or None if the format cannot say it.
    """

    found: str
    images: list[AnnotatedImage]
    classes: dict[str, bool | None]
    notes: list[str] = field(default_factory=list)


def painted(objects: Sequence[Sequence[Region]], size: tuple[int, int]) -> Truth:
    """The truth of objects, each of one or more regions, all with the segment of the first one.

    Where objects overlap, crowds lie lowest, then the level decides, and then the smaller object is
    on top.
    """
    plane = np.zeros(size, np.int32)

    def height(k: int) -> tuple[bool, int, int]:
        first, area = objects[k][0], sum(np.count_nonzero(r.mask) for r in objects[k])
        return not first.segment.is_crowd, first.level, -area

    for k in sorted(range(len(objects)), key=height):
        for region in objects[k]:
            (top, left), mask = region.corner, region.mask
            mask = mask[max(-top, 0) :, max(-left, 0) :]  # without what is outside of the image
            part = plane[max(top, 0) :, max(left, 0) :][: mask.shape[0], : mask.shape[1]]
            part[mask[: part.shape[0], : part.shape[1]]] = k + 1
    return Truth(plane, [regions[0].segment for regions in objects])


def panoptic_segments(
    truth: Truth, kinds: dict[str, bool], background: str | None
) -> tuple[np.ndarray, list[dict], int]:
    """The ids (H, W) of a panoptic PNG, its ``segments_info``, and how many segments are hidden.

    ``kinds`` tells of each class whether it is a thing; pixels of other names are void. The stuff
    class ``background`` takes the pixels that have no segment. Category ids are the places in
    ``kinds``, from 1.
    """
    plane, segments = _scattered_apart(truth, kinds)
    slots, new_numbers = {}, np.zeros(len(segments) + 1, np.int32)
    if background:
        new_numbers[0] = slots.setdefault(background, (1, Segment(background)))[0]
    for k, segment in enumerate(segments):
        if segment.name in kinds:
            key = k if kinds[segment.name] else segment.name
            new_numbers[k + 1] = slots.setdefault(key, (len(slots) + 1, segment))[0]
    plane = new_numbers[plane]
    areas = np.bincount(plane.ravel(), minlength=len(slots) + 1)
    numbers = {name: number for number, name in enumerate(kinds, start=1)}
    boxes = find_objects(plane, len(slots)) if slots else ()
    info = [
        dict(
            id=number * SPREAD % NUM_IDS,
            category_id=numbers[segment.name],
            area=int(areas[number]),
            iscrowd=int(segment.is_crowd and kinds.get(segment.name, False)),
            bbox=box_of(box),
        )
        for (number, segment), box in zip(slots.values(), boxes)
        if box is not None
    ]
    hidden = len(truth.segments) - len(np.setdiff1d(truth.plane, 0))
    ids = (np.arange(len(slots) + 1) * SPREAD % NUM_IDS).astype(np.uint32)
    return ids[plane], info, hidden


def _scattered_apart(truth: Truth, kinds: dict[str, bool]) -> tuple[np.ndarray, list[Segment]]:
    """Give each connected region of a scattered thing a segment of its own."""
    plane, segments = truth.plane, list(truth.segments)
    for k, segment in enumerate(truth.segments):
        if segment.scattered and kinds.get(segment.name):
            number, regions = cv2.connectedComponents((truth.plane == k + 1).view(np.uint8))
            others = regions > 1  # the first region keeps its number
            plane = np.where(others, regions + (len(segments) - 1), plane)
            segments += [segment] * max(number - 2, 0)
    return plane.astype(np.int32), segments
