"""The segment-index plane (H, W) int16: k on the pixels of segment k in 0..K-1, -1 on void.

One plane stands for all K masks of an image. What depends on values only (looking up ids, finding
the segments that are left, renumbering) works on its runs of equal pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from cmt_deeplab.coco_format import VOID_ID
from cmt_deeplab.geometry import resize_image
from cmt_deeplab.planes import positions, runs
from cmt_deeplab.structures import VOID_INDEX

MAX_SEGMENTS = np.iinfo(np.int16).max


def index_plane(
    ids: np.ndarray, segment_ids: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn ids (H, W) into the plane of positions in ``segment_ids``.

    Returns the plane (H, W) int16, the ids of the PNG that ``segment_ids`` lacks, and the ids of
    ``segment_ids`` that the PNG lacks. The plane is void on the former.
    """
    values, lengths = runs(ids)
    wanted = np.asarray(segment_ids, np.int64)
    order = np.argsort(wanted)
    run_index = np.append(order, VOID_INDEX)[positions(values, wanted[order])].astype(np.int16)
    unlisted = np.unique(values[(run_index < 0) & (values != VOID_ID)])
    absent = wanted[~present_segments(run_index, len(wanted))]
    return np.repeat(run_index, lengths).reshape(ids.shape), unlisted, absent


def present_segments(plane: np.ndarray, num_segments: int) -> np.ndarray:
    """Which segments still have a pixel, (K,) bool."""
    values, _ = runs(plane)
    present = np.zeros(num_segments, bool)
    present[values[values >= 0]] = True
    return present


def renumber(plane: np.ndarray, new_index: np.ndarray) -> np.ndarray:
    """Replace k by ``new_index[k]`` (K,), keeping negative values."""
    values, lengths = runs(plane)
    new_index = np.append(new_index, VOID_INDEX)  # one entry at least, which nothing reads
    values = np.where(values >= 0, new_index[values.clip(min=0)], values)
    return np.repeat(values.astype(np.int16), lengths).reshape(plane.shape)


def resize_plane(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Nearest resize at pixel centers, (height, width) int16, as OpenCV's bilinear image resize.

    ``INTER_NEAREST``, which mmcv uses for masks, takes the top left pixel of each cell instead and
    so lies half a cell beside the image.
    """
    return resize_image(plane, height, width, cv2.INTER_NEAREST_EXACT)
