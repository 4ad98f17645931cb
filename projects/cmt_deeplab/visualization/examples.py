"""The picture row of one image in a report."""
from typing import Sequence

import numpy as np

from .assignments import AssignmentMap, centre_colours, draw_assignment
from .drawer import PanopticDrawer
from .matching import match_segments
from .palette import matched_colours
from .report import Example


def make_example(caption: str,
                 image: np.ndarray,
                 ground_truth: np.ndarray,
                 prediction: np.ndarray,
                 *,
                 drawer: PanopticDrawer,
                 crowds: Sequence[int] = (),
                 assignments: Sequence[AssignmentMap] = ()) -> Example:
    """Input, ground truth, prediction and assignments of ``image (H, W, 3)`` uint8 RGB, in one set of colours.

    A found segment has the colour of the ground-truth segment that it matches, a false positive a red border; a centre has the colour of
    the predicted segment that it ends in. The maps are ``label + 1000 * instance``, void = number of classes.
    """
    truth_colours = drawer.colours(ground_truth)
    matches, wrong = match_segments(prediction, ground_truth, num_classes=len(drawer.classes), crowds=crowds)
    colours = matched_colours(drawer.colours(prediction), truth_colours, matches)
    pictures = [('input', image), ('ground truth', drawer.draw(image, ground_truth, colours=truth_colours, crowds=crowds)),
                ('prediction', drawer.draw(image, prediction, colours=colours, wrong=wrong))]
    layers = []
    if assignments:
        num_centres = 1 + max(int(a.centres.max()) for a in assignments)
        table = centre_colours(assignments[-1], prediction, colours, num_centres=num_centres)
        layers = [(a.name, draw_assignment(a, table)) for a in assignments]
    return Example(caption, pictures, layers)
