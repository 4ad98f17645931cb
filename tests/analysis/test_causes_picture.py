"""The picture of the causes of lost PQ in the docs is what the evaluation finds in its planes.

Run as a program, this file draws it again.
"""

from pathlib import Path

import cv2
import numpy as np
from cmt_deeplab.analysis.lost_pq import CAUSES
from cmt_deeplab.analysis.segment_rows import segment_rows
from cmt_deeplab.coco_format import map_value
from cmt_deeplab.evaluation.pq import joint_histogram, match_segments, panoptic_map_segments
from cmt_deeplab.visualization import PanopticDrawer
from cmt_deeplab.visualization.beside import compared_pictures, joined

PICTURE = Path(__file__).resolve().parents[2] / 'docs' / 'pictures' / 'lost_pq.png'
SIDE, CLASSES = 192, ('nucleus', 'debris', 'tissue')
ONE, TWO, WIDE = (96, 96, 58, 58), (62, 96, 34, 50), (128, 96, 34, 50)  # x, y, half width, height
# The ellipses of the truth and of the prediction, each with its class; the background is tissue.
EXAMPLES = (
    ([(TWO, 0), (WIDE, 0)], [((96, 96, 72, 52), 0)]),
    ([(ONE, 0)], [((66, 96, 30, 54), 0), ((126, 96, 30, 54), 0)]),
    ([(TWO, 0), (WIDE, 0)], [(TWO, 0)]),
    ([(TWO, 0)], [(TWO, 0), (WIDE, 0)]),
    ([(ONE, 0)], [(ONE, 1)]),
    ([(ONE, 0)], [((108, 108, 70, 46), 0)]),
)


def plane_of(ellipses: list) -> np.ndarray:
    plane = np.full((SIDE, SIDE), map_value(2, 0), np.int32)
    for number, ((x, y, width, height), label) in enumerate(ellipses, start=1):
        cv2.ellipse(plane, (x, y), (width, height), 0, 0, 360, map_value(label, number), -1)
    return plane


def main_cause(true: np.ndarray, guess: np.ndarray) -> str:
    """The cause of most rows that are not right; loose where all match."""
    histogram = joint_histogram(true, guess)
    gt, pred = (panoptic_map_segments(ids, num_classes=len(CLASSES)) for ids in histogram[:2])
    rows = segment_rows(match_segments(gt, pred, gt_void=len(CLASSES), histogram=histogram))
    things = rows[rows['category'] < 2]
    wrong = things[things['kind'] > 0]
    return CAUSES[np.bincount((wrong if len(wrong) else things)['cause']).argmax()]


def drawn_causes() -> dict[str, np.ndarray]:
    """By the cause that is found: the truth above the prediction, RGB."""
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2, min_side=SIDE)
    image = np.full((SIDE, SIDE, 3), 150, np.uint8)
    gap = np.full((6, SIDE, 3), 255, np.uint8)
    pictures = {}
    for ellipses in EXAMPLES:
        true, guess = map(plane_of, ellipses)
        drawn = compared_pictures(image, true, guess, drawer=drawer)
        pictures[main_cause(true, guess)] = np.vstack([drawn.truth, gap, drawn.prediction])
    return pictures


def test_the_picture_in_the_docs_shows_each_cause():
    pictures = drawn_causes()
    assert tuple(pictures) == CAUSES
    difference = cv2.absdiff(cv2.imread(str(PICTURE)), joined(pictures)[..., ::-1])
    assert difference.mean() < 2  # versions of the font may differ


if __name__ == '__main__':
    cv2.imwrite(str(PICTURE), joined(drawn_causes())[..., ::-1])
