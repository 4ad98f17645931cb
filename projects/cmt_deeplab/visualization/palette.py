"""Colors that mmdet's palettes lack: any number of them far apart, and one for each segment."""

from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import cycle

import cv2
import numpy as np

from cmt_deeplab.coco_format import label_of
from cmt_deeplab.errors import UserError
from cmt_deeplab.planes import ranked, runs

Color = tuple[int, int, int]  # red, green, blue, each 0..255


@lru_cache(maxsize=1)
def _ordered_colors() -> np.ndarray:
    """480 colors (480, 3) uint8, each as far as possible from all that stand before it.

    The distance is the one of CIELAB with less weight on lightness, because an overlay mixes in the
    lightness of its image. Pure red is left out: it marks wrong segments.
    """
    hue, lightness = np.meshgrid(np.linspace(14, 344, 80), np.linspace(0.36, 0.78, 6))
    grid = np.stack([hue, lightness, np.full(hue.shape, 0.62)], axis=-1).astype(np.float32)
    rgb = cv2.cvtColor(grid, cv2.COLOR_HLS2RGB)
    place = cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab).reshape(-1, 3) * (0.6, 1, 1)
    rgb = rgb.reshape(-1, 3)
    order = [int(np.abs(rgb - (0.22, 0.5, 0.82)).sum(axis=1).argmin())]  # begin with a blue
    distance = np.full(len(rgb), np.inf)
    while len(order) < len(rgb):
        distance = np.minimum(distance, np.linalg.norm(place - place[order[-1]], axis=1))
        order.append(int(distance.argmax()))
    return (255 * rgb[order]).round().astype(np.uint8)


def distinct_colors(count: int) -> np.ndarray:
    """RGB colors (count, 3) uint8; the earlier they stand in the list, the farther apart they are.

    The first n rows do not depend on ``count``. From the 481st on the colors repeat.
    """
    return np.resize(_ordered_colors(), (count, 3))


def _spare_colors(taken: Container[Color]) -> Iterator[Color]:
    """The distinct colors that are not taken, again and again."""
    return cycle(color for color in map(tuple, _ordered_colors().tolist()) if color not in taken)


def segment_colors(
    segment_map: np.ndarray,
    *,
    num_classes: int,
    num_things_classes: int,
    palette: Sequence[Color] | None = None,
) -> dict[int, Color]:
    """One color for each segment of a map of the values of ``coco_format.map_value``.

    Stuff has the color of its class, the same in every picture; it comes from ``palette`` where one
    is given. The first instance of a thing class has the color of its class too. All further
    instances have colors of their own, so that two instances that touch never look like one.
    Labels from ``num_classes`` on are void and get no color.
    """
    base = distinct_colors(num_classes).tolist() if palette is None else palette
    if len(base) < num_classes:
        raise UserError(
            f'The palette has {len(base)} colors for {num_classes} classes: give one for each '
            'class, or set palette=None.'
        )
    base = [tuple(map(int, color)) for color in base]
    spare = _spare_colors(base)
    colors: dict[int, Color] = {}
    used: set[Color] = set()
    for segment in ranked(runs(segment_map)[0])[0].tolist():
        label = label_of(segment)
        if label < num_classes:
            color = base[label]
            repeated = label < num_things_classes and color in used
            colors[segment] = next(spare, color) if repeated else color
            used.add(colors[segment])
    return colors


def matched_colors(
    colors: Mapping[int, Color], reference_colors: Mapping[int, Color], matches: Mapping[int, int]
) -> dict[int, Color]:
    """The ``colors`` of segments, where those that match a segment of the reference have its color.

    ``matches`` is ``{segment: segment of the reference}``. A segment without a match keeps its own
    color, unless a segment of the reference has the same one; then it gets a spare color.
    """
    reference = set(reference_colors.values())
    spare = _spare_colors(reference.union(colors.values()))
    return {
        segment: reference_colors[matches[segment]]
        if segment in matches
        else (next(spare, color) if color in reference else color)
        for segment, color in colors.items()
    }
