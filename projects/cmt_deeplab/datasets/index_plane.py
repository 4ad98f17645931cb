"""The segment-index plane (H, W) int16: k on the pixels of segment k in 0..K-1, -1 on void.

One plane stands for all K masks of an image. What depends on values only (looking up ids, finding
the segments that are left, renumbering) works on its runs of equal pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from cmt_deeplab.coco_format import VOID_ID
from cmt_deeplab.geometry import resize_image
from cmt_deeplab.planes import PlaneRuns, runs
from cmt_deeplab.structures import VOID_INDEX

MAX_SEGMENTS = np.iinfo(np.int16).max
STRIDE = 4  # of the rows in which most segments have a pixel


def index_plane(
    ids: PlaneRuns, segment_ids: Sequence[int]
) -> tuple[np.ndarray, list[int], set[int]]:
    """Turn a plane of ids into the plane of positions in ``segment_ids``.

    Returns the plane (H, W) int16, the ids of the PNG that ``segment_ids`` lacks, and the ids of
    ``segment_ids`` that the PNG lacks. The plane is void on the former.
    """
    index_of = {number: index for index, number in enumerate(segment_ids)}
    values = ids.values.tolist()
    index = np.array([index_of.get(value, VOID_INDEX) for value in values], np.int16)
    unlisted = [value for value in values if value not in index_of and value != VOID_ID]
    return ids.plane(index), unlisted, index_of.keys() - values


def present_segments(plane: np.ndarray, num_segments: int) -> np.ndarray:
    """Which segments still have a pixel, (K,) bool."""
    present = _present(runs(plane[::STRIDE])[0], num_segments)
    return present if present.all() else _present(runs(plane)[0], num_segments)


def _present(values: np.ndarray, num_segments: int) -> np.ndarray:
    present = np.zeros(num_segments, bool)
    present[values[values >= 0]] = True
    return present


def renumber(plane: np.ndarray, new_index: np.ndarray) -> np.ndarray:
    """Replace k by ``new_index[k]`` (K,), keeping negative values."""
    return _renumbered(*runs(plane), new_index).reshape(plane.shape)


def _renumbered(values: np.ndarray, lengths: np.ndarray, new_index: np.ndarray) -> np.ndarray:
    new_index = np.append(new_index, VOID_INDEX)  # one entry at least, which nothing reads
    values = np.where(values >= 0, new_index[values.clip(min=0)], values)
    return np.repeat(values.astype(np.int16), lengths)


def without_segments(plane: np.ndarray, dropped: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make the ``dropped`` (K,) segments void and number those that have a pixel in their order.

    Returns the plane, and which segments it still has, (K,) bool.
    """
    if not dropped.any() and _present(runs(plane[::STRIDE])[0], len(dropped)).all():
        return plane, ~dropped
    values, lengths = runs(plane)
    kept = _present(values, len(dropped)) & ~dropped
    if not kept.all():
        new_index = np.where(kept, np.cumsum(kept) - 1, VOID_INDEX)
        plane = _renumbered(values, lengths, new_index).reshape(plane.shape)
    return plane, kept


def resize_plane(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest resize at pixel centers, (height, width) int16, as OpenCV's bilinear image resize.

    ``INTER_NEAREST``, which mmcv uses for masks, takes the top left pixel of each cell instead and
    so lies half a cell beside the image.
    """
    return resize_image(plane, height, width, cv2.INTER_NEAREST_EXACT)
