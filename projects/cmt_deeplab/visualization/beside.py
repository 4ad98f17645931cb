"""The truth of an image beside its prediction."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from cmt_deeplab.evaluation.pq import (
    SegmentTable,
    joint_histogram,
    match_segments,
    panoptic_map_segments,
)

from .drawer import PanopticDrawer
from .labels import caption
from .palette import Color, matched_colors

WIDE = 1.75  # width to height from which on pictures stand below each other


@dataclass(frozen=True)
class ComparedPictures:
    """Pictures of one image, RGB (H, W, 3) uint8 of one size; None of what there is not.

    ``colors`` are those of the predicted segments.
    """

    image: np.ndarray
    truth: np.ndarray | None
    prediction: np.ndarray | None
    colors: Mapping[int, Color]
    true_title: str
    predicted_title: str


def compared_pictures(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray | None,
    *,
    drawer: PanopticDrawer,
    crowds: Collection[int] = (),
    scores: Mapping[int, float] | None = None,
) -> ComparedPictures:
    """Draw a true and a predicted segment map, (H, W) as ``drawer`` takes them, over ``image``.

    A predicted segment that matches a true one, by the rules of PQ, has its color. Where there are
    both maps, predicted segments that count as wrong and true ones that were missed have red
    borders and labels. ``crowds`` are segments of the truth and ``scores`` of the prediction.
    """
    spurious = missed = ()
    true_colors = {} if truth is None else drawer.colors(truth)
    colors = {} if prediction is None else drawer.colors(prediction)
    true_title = f'truth: {len(true_colors)} segments'
    predicted_title = f'prediction: {len(colors)} segments'
    if truth is not None and prediction is not None:
        num_classes = len(drawer.classes)
        histogram = joint_histogram(truth, prediction)
        gt, pred = (panoptic_map_segments(i, num_classes=num_classes) for i in histogram[:2])
        gt = SegmentTable(gt.ids, gt.categories, np.isin(gt.ids, list(crowds)))
        found = match_segments(gt, pred, gt_void=num_classes, histogram=histogram)
        pairs = zip(pred.ids[found.pred_rows].tolist(), gt.ids[found.gt_rows].tolist())
        colors = matched_colors(colors, true_colors, dict(pairs))
        spurious = pred.ids[found.is_false_positive].tolist()
        missed = gt.ids[found.is_false_negative].tolist()
        true_title += f', {len(missed)} missed'
        predicted_title += f', {len(spurious)} wrong'

    def draw(segment_map: np.ndarray | None, **options) -> np.ndarray | None:
        return None if segment_map is None else drawer.draw(image, segment_map, **options)

    return ComparedPictures(
        drawer.at_size(image, cv2.INTER_AREA),
        draw(truth, colors=true_colors, wrong=missed, crowds=crowds),
        draw(prediction, colors=colors, wrong=spurious, scores=scores),
        colors,
        true_title,
        predicted_title,
    )


def draw_beside(
    image: np.ndarray,
    truth: np.ndarray | None,
    prediction: np.ndarray | None,
    *,
    drawer: PanopticDrawer,
    crowds: Collection[int] = (),
    scores: Mapping[int, float] | None = None,
    name: str = 'image',
) -> np.ndarray:
    """The pictures of ``compared_pictures`` in one RGB picture, each below its title.

    They stand side by side, or those of a wide image below each other. ``name`` is the title of the
    image.
    """
    drawn = compared_pictures(image, truth, prediction, drawer=drawer, crowds=crowds, scores=scores)
    return joined(
        {name: drawn.image, drawn.true_title: drawn.truth, drawn.predicted_title: drawn.prediction}
    )


def joined(pictures: Mapping[str, np.ndarray | None], *, columns: int | None = None) -> np.ndarray:
    """Pictures of one size in one, each below its title; those that are None are left out.

    Without ``columns`` they stand in one row, or in one column where they are wide.
    """
    panels = {title: picture for title, picture in pictures.items() if picture is not None}
    height, width = next(iter(panels.values())).shape[:2]
    size = max(11, min(height, width) // 24)
    gap = [(0, size // 2), (0, size // 2), (0, 0)]
    blocks = [
        np.pad(np.vstack([caption(title, width, size), panel]), gap, constant_values=255)
        for title, panel in panels.items()
    ]
    columns = columns or (1 if width > WIDE * height else len(blocks))
    blocks += [np.full_like(blocks[0], 255)] * (-len(blocks) % columns)
    rows = [np.hstack(blocks[i : i + columns]) for i in range(0, len(blocks), columns)]
    return np.vstack(rows)[: -gap[0][1], : -gap[1][1]]
