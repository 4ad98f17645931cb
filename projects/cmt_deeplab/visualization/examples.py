"""The picture row of one image in a report."""

from collections.abc import Sequence

import numpy as np

from .assignments import AssignmentMap, center_colors, draw_assignment
from .drawer import PanopticDrawer
from .matching import match_segments
from .palette import matched_colors
from .report import Example


def make_example(
    caption: str,
    image: np.ndarray,
    ground_truth: np.ndarray,
    prediction: np.ndarray,
    *,
    drawer: PanopticDrawer,
    crowds: Sequence[int] = (),
    assignments: Sequence[AssignmentMap] = (),
) -> Example:
    """Input, ground truth, prediction and assignments of ``image (H, W, 3)`` uint8 RGB, in one set of colors.

    A found segment has the color of the ground-truth segment that it matches, a false positive a red border; a center has the color of
    the predicted segment that it ends in. The maps are ``label + 1000 * instance``, void = number of classes.
    """
    truth_colors = drawer.colors(ground_truth)
    matches, wrong = match_segments(
        prediction, ground_truth, num_classes=len(drawer.classes), crowds=crowds
    )
    colors = matched_colors(drawer.colors(prediction), truth_colors, matches)
    pictures = [
        ('input', image),
        ('ground truth', drawer.draw(image, ground_truth, colors=truth_colors, crowds=crowds)),
        ('prediction', drawer.draw(image, prediction, colors=colors, wrong=wrong)),
    ]
    layers = []
    if assignments:
        num_centers = 1 + max(int(a.centers.max()) for a in assignments)
        table = center_colors(assignments[-1], prediction, colors, num_centers=num_centers)
        layers = [(a.name, draw_assignment(a, table)) for a in assignments]
    return Example(caption, pictures, layers)
