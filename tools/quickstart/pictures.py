"""The pictures of one validated image in the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmcv
from cmt_deeplab.visualization import (
    AssignmentMap,
    PanopticDrawer,
    center_colors,
    draw_assignment,
    matched_colors,
)

from .recorder import ValidatedImage


def example(
    rank: str, image: ValidatedImage, maps: Sequence[AssignmentMap], *, drawer: PanopticDrawer
) -> dict[str, Any]:
    """``caption``, and ``pictures`` and ``layers`` by title, RGB (H, W, 3) uint8.

    They share one set of colors: a matched segment has the color of the true segment, and a center
    that of the predicted segment in which it ends. A false positive has a red border.
    """
    picture = mmcv.imread(image.img_path, channel_order='rgb')
    truth, prediction = image.ground_truth, image.prediction
    true_colors = drawer.colors(truth)
    colors = matched_colors(drawer.colors(prediction), true_colors, image.matches)
    num_centers = 1 + max(int(layer.centers.max()) for layer in maps)
    table = center_colors(maps[-1], prediction, colors, num_centers=num_centers)
    drawn = drawer.draw(picture, truth, colors=true_colors, crowds=image.crowds)
    found = drawer.draw(picture, prediction, colors=colors, wrong=image.false_positives)
    return dict(
        caption=f'{rank}: PQ {image.quality:.1f} ({Path(image.img_path).name})',
        pictures={'input': picture, 'ground truth': drawn, 'prediction': found},
        layers={layer.name: draw_assignment(layer, table) for layer in maps},
    )
