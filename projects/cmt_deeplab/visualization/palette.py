"""Colors that mmdet's palettes lack: any number of them far apart, and one for each segment."""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice

import cv2
import numpy as np

from cmt_deeplab.coco_format import label_of
from cmt_deeplab.errors import UserError
from cmt_deeplab.planes import ranked, runs

Color = tuple[int, int, int]  # red, green, blue, each 0..255
NUM_COLORS = 480  # that are told apart
DIFFERENT = 30.0  # the distance in CIELAB from which on two colors that touch look different


def _places(colors: np.ndarray | Sequence[Color]) -> np.ndarray:
    """The places (N, 3) of RGB colors, between which the distance is how different they look.

    It is the one of CIELAB with less weight on lightness, because an overlay mixes in the lightness
    of its image.
    """
    rgb = np.reshape(colors, (1, -1, 3)).astype(np.float32) / 255
    if not rgb.size:
        return rgb[0]
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2Lab)[0] * (0.6, 1, 1)


@lru_cache(maxsize=1)
def _ordered_colors() -> np.ndarray:
    """``NUM_COLORS`` colors (480, 3) uint8, each as far as possible from all that stand before it.

    Pure red is left out: it marks wrong segments.
    """
    hue, lightness = np.meshgrid(np.linspace(14, 344, 80), np.linspace(0.36, 0.78, 6))
    grid = np.stack([hue, lightness, np.full(hue.shape, 0.62)], axis=-1).astype(np.float32)
    rgb = 255 * cv2.cvtColor(grid, cv2.COLOR_HLS2RGB).reshape(-1, 3)
    blue = rgb[np.abs(rgb - (56, 128, 209)).sum(axis=1).argmin()]  # begin with it
    return np.array([blue, *islice(_far_apart(rgb, [blue]), len(rgb) - 1)]).round().astype(np.uint8)


def _far_apart(choices: np.ndarray, taken: Sequence[Color]) -> Iterator[np.ndarray]:
    """The choices (N, 3), each as far as possible from those taken and from those before it.

    When all are given out, they come again in the same way.
    """
    places = _places(choices)
    while True:
        distance = np.full(len(places), np.inf)
        for other in _places(taken):
            distance = np.minimum(distance, np.linalg.norm(places - other, axis=1))
        for _ in places:
            best = int(distance.argmax())
            yield choices[best]
            distance = np.minimum(distance, np.linalg.norm(places - places[best], axis=1))
            distance[best] = -1  # once only


def distinct_colors(count: int) -> np.ndarray:
    """RGB colors (count, 3) uint8; the earlier they stand in the list, the farther apart they are.

    The first n rows do not depend on ``count``. From the 481st on the colors repeat.
    """
    return np.resize(_ordered_colors(), (count, 3))


def _spare_colors(refused: Container[Color], taken: Sequence[Color]) -> Iterator[Color]:
    """The distinct colors that are not refused, as far as possible from those taken, on and on."""
    choices = [color for color in map(tuple, _ordered_colors().tolist()) if color not in refused]
    for color in _far_apart(np.array(choices), taken) if choices else ():
        yield tuple(color.tolist())


def _neighbors(segment_map: np.ndarray) -> dict[int, set[int]]:
    """The ids that each id of a map (H, W) touches at a side of a pixel."""
    pairs = set()
    for one, other in (
        (segment_map[:, :-1], segment_map[:, 1:]),
        (segment_map[:-1], segment_map[1:]),
    ):
        differ = one != other
        pairs.update(zip(one[differ].tolist(), other[differ].tolist()))
    neighbors = defaultdict(set)
    for one, other in pairs:
        neighbors[one].add(other)
        neighbors[other].add(one)
    return neighbors


def segment_colors(
    segment_map: np.ndarray,
    *,
    num_classes: int,
    num_things_classes: int,
    palette: Sequence[Color] | None = None,
) -> dict[int, Color]:
    """One color for each segment of a map (H, W) of the values of ``coco_format.map_value``.

    Stuff has the color of its class, the same in every picture; it comes from ``palette`` where one
    is given. The first instance of a thing class has the color of its class too. All further
    instances have colors that no class has. These differ as long as there are any left, and an
    instance looks different from what it touches. Labels from ``num_classes`` on are void and
    get no color.
    """
    base = distinct_colors(num_classes).tolist() if palette is None else palette
    if len(base) < num_classes:
        raise UserError(
            f'The palette has {len(base)} colors for {num_classes} classes: give one for each '
            'class, or set palette=None.'
        )
    base = [tuple(map(int, color)) for color in base]
    colors: dict[int, Color] = {}
    further: list[int] = []
    for segment in ranked(runs(segment_map)[0])[0].tolist():
        label = label_of(segment)
        if label < num_things_classes and base[label] in colors.values():
            further.append(segment)
        elif label < num_classes:
            colors[segment] = base[label]
    spare = list(islice(_spare_colors(base, list(colors.values())), NUM_COLORS))
    places, unused = _places(spare), np.ones(len(spare), bool)
    neighbors = _neighbors(segment_map) if further else {}
    for segment in further if spare else ():
        beside = _places([colors[other] for other in neighbors[segment] & colors.keys()])
        gap = np.linalg.norm(places[:, None] - beside, axis=2).min(axis=1, initial=np.inf)
        fits = unused & (gap > DIFFERENT)
        best = int(fits.argmax() if fits.any() else np.where(unused, gap, -1).argmax())
        colors[segment] = spare[best]
        unused[best] = False
        if not unused.any():
            unused[:] = True
    return {**colors, **{k: base[label_of(k)] for k in further if not spare}}


def matched_colors(
    colors: Mapping[int, Color], reference_colors: Mapping[int, Color], matches: Mapping[int, int]
) -> dict[int, Color]:
    """The ``colors`` of segments, where those that match a segment of the reference have its color.

    ``matches`` is ``{segment: segment of the reference}``. A segment without a match keeps its own
    color, unless a segment of the reference has the same one; then it gets a spare color.
    """
    reference = set(reference_colors.values())
    spare = _spare_colors(reference.union(colors.values()), list(reference))
    return {
        segment: reference_colors[matches[segment]]
        if segment in matches
        else (next(spare, color) if color in reference else color)
        for segment, color in colors.items()
    }
