"""The segment-index plane: (H, W) int16, k in 0..K-1 where a pixel belongs to segment k, -1 on void.

One plane stands for all K masks of an image. Planes are piecewise constant, so everything that depends on values only (looking up ids,
finding which segments are left, renumbering) works on runs of equal pixels, some thousands, rather than on the hundred thousands of pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from cmt_deeplab.structures import VOID_INDEX

MAX_SEGMENTS = np.iinfo(np.int16).max


def runs(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (M,) and lengths (M,) of the runs of equal pixels in row-major order; a run may go on in the next row."""
    flat = plane.reshape(-1)
    starts = np.flatnonzero(flat[1:] != flat[:-1])
    starts += 1
    starts = np.concatenate([[0], starts]) if flat.size else starts
    return flat[starts], np.diff(starts, append=flat.size)


def index_plane(
    ids: np.ndarray, segment_ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn ids (H, W) into the plane of positions in ``segment_ids``; id 0 is void.

    Returns the plane (H, W) int16, the ids of the PNG that ``segment_ids`` lacks, and the ids of ``segment_ids`` that the PNG lacks; the
    plane is void on the former.
    """
    values, lengths = runs(ids)
    wanted = np.asarray(segment_ids, np.int64)
    order = np.argsort(wanted, kind='stable')
    sorted_ids = np.append(
        wanted[order], np.iinfo(np.int64).max
    )  # a sentinel keeps positions valid
    position = np.searchsorted(sorted_ids, values)
    known = sorted_ids[position] == values
    run_index = np.append(order, VOID_INDEX).astype(np.int16)[np.where(known, position, len(order))]
    unknown = np.unique(values[~known & (values != 0)])
    seen = np.zeros(len(wanted), bool)
    seen[run_index[run_index >= 0]] = True
    return np.repeat(run_index, lengths).reshape(ids.shape), unknown, wanted[~seen]


def present_segments(plane: np.ndarray, num_segments: int) -> np.ndarray:
    """Which segments still have a pixel, (K,) bool."""
    values, _ = runs(plane)
    seen = np.zeros(num_segments, bool)
    seen[values[values >= 0]] = True
    return seen


def renumber(plane: np.ndarray, new_index: np.ndarray) -> np.ndarray:
    """Replace k by ``new_index[k]`` (K,), keeping negative values."""
    values, lengths = runs(plane)
    if len(new_index):
        values = np.where(values >= 0, new_index[values.clip(min=0)], values)
    return np.repeat(values.astype(np.int16), lengths).reshape(plane.shape)


def resize_plane(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest resize at pixel centers, (height, width) int16: the geometry of OpenCV's bilinear image resize.

    ``INTER_NEAREST``, which mmcv uses for masks, takes the top left pixel of each cell instead: half a cell beside the image.
    """
    if plane.shape == (height, width):
        return plane
    return cv2.resize(plane, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
