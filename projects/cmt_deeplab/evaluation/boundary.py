"""Boundary PQ: panoptic quality with the smaller of IoU and boundary IoU.

Cheng et al., Boundary IoU, CVPR 2021, and the code of the authors
(github.com/bowenc0221/boundary-iou-api, coco_panoptic_api): the boundary of a segment is what lies
within 2 % of the image diagonal of its outline, to which the edge of the image belongs. Boundary
IoU compares the boundaries of two segments as IoU compares the segments; the predicted boundary on
void is left out. Which predictions are excused, whole masks decide, as in PQ.

This module imports neither torch nor mmdet.
"""

import cv2
import numpy as np

from .pq import JointHistogram, joint_histogram

DILATION_RATIO = 0.02  # of the diagonal
INSIDE = -1  # stands for the pixels of segments that belong to no boundary


def boundary_pixels(plane: np.ndarray) -> np.ndarray:
    """Which pixels of a plane of ids (H, W) from 0 to 2**24 are near their segment's outline."""
    distance = max(1, round(DILATION_RATIO * float(np.hypot(*plane.shape))))
    window = np.ones((2 * distance + 1, 2 * distance + 1), np.uint8)
    ids = plane.astype(np.float32)  # exact
    border = dict(borderType=cv2.BORDER_CONSTANT, borderValue=float(INSIDE))
    return cv2.dilate(ids, window, **border) != cv2.erode(ids, window, **border)


def boundary_histogram(
    gt_plane: np.ndarray, pred_plane: np.ndarray, gt_void: int
) -> JointHistogram:
    """The joint histogram of the boundaries; all pixels of true void stay void."""
    gt, pred = (
        np.where(boundary_pixels(p), p, INSIDE) for p in map(np.int64, (gt_plane, pred_plane))
    )
    gt[gt_plane == gt_void] = gt_void
    return joint_histogram(gt, pred)
