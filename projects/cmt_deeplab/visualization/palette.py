"""Colors that stay apart however many are asked for."""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from cmt_deeplab.errors import UserError

Color = tuple[int, int, int]  # R, G, B, 0..255


def _oklch_to_rgb(lightness: float, chroma: float, hue: float) -> Color:
    """sRGB of a color in OKLCh (Ottosson 2020), where equal steps look equal; the chroma shrinks until the color exists."""
    while True:
        a, b = chroma * math.cos(hue), chroma * math.sin(hue)
        l3 = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
        m3 = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
        s3 = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
        linear = (
            4.0767416621 * l3 - 3.3077115913 * m3 + 0.2309699292 * s3,
            -1.2684380046 * l3 + 2.6097574011 * m3 - 0.3413193965 * s3,
            -0.0041960863 * l3 - 0.7034186147 * m3 + 1.7076147010 * s3,
        )
        if chroma < 1e-3 or all(-1e-4 <= v <= 1 + 1e-4 for v in linear):
            gamma = (
                12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055
                for v in (min(max(v, 0.0), 1.0) for v in linear)
            )
            return tuple(int(round(255 * v)) for v in gamma)
        chroma *= 0.94


@lru_cache(maxsize=1)
def _ordered_colors() -> np.ndarray:
    """``(480, 3)`` uint8: saturated colors of middle lightness, each as far as possible from all before it."""
    rows = enumerate(np.linspace(0.5, 0.86, 6))
    grid = [
        (lightness, 0.17, 2 * math.pi * (h + 0.5 * (row % 2)) / 80)
        for row, lightness in rows
        for h in range(80)
    ]
    rgb = np.array([_oklch_to_rgb(*g) for g in grid], dtype=np.uint8)
    # Hue counts more than lightness: the overlay mixes in the lightness of the image.
    place = np.array(
        [
            (0.6 * lightness, 0.17 * math.cos(hue), 0.17 * math.sin(hue))
            for lightness, _, hue in grid
        ]
    )
    order = [int(np.abs(place - (0.6 * 0.64, -0.055, -0.155)).sum(1).argmin())]  # begin with a blue
    distance = np.full(len(grid), np.inf)
    while len(order) < len(grid):
        distance = np.minimum(distance, np.linalg.norm(place - place[order[-1]], axis=1))
        order.append(int(distance.argmax()))
    return rgb[order]


def distinct_colors(count: int) -> np.ndarray:
    """``(count, 3)`` uint8 RGB. The first n rows are the same whatever ``count`` is, the earlier the farther apart; 200 all differ."""
    rows = np.arange(count)
    colors = _ordered_colors()
    darker = 1 - 0.12 * (
        rows // len(colors) % 5
    )  # from the 481st on the list repeats in darker shades
    return (colors[rows % len(colors)] * darker[:, None]).round().astype(np.uint8)


def present_ids(segment_map: np.ndarray) -> np.ndarray:
    """Ascending ids that occur in a non-negative integer map; a histogram, several times faster than sorting the pixels."""
    return np.flatnonzero(np.bincount(segment_map.ravel()))


def segment_colors(
    segment_map: np.ndarray,
    *,
    num_classes: int,
    num_things_classes: int,
    palette: Sequence[Color] | None = None,
) -> dict[int, Color]:
    """One color for each segment of ``label + 1000 * instance``; void (``num_classes`` and above) is left out.

    Stuff takes the color of its class (from ``palette`` where given), so it is the same in every picture. The first instance of a thing
    class takes its class color too, the others colors of their own, so that two touching instances never look like one.
    """
    base = (
        distinct_colors(num_classes)
        if palette is None
        else np.asarray(palette, dtype=np.uint8).reshape(-1, 3)
    )
    if len(base) < num_classes:
        raise UserError(
            f'The palette has {len(base)} colors for {num_classes} classes: give one a class, or palette=None.'
        )
    colors: dict[int, Color] = {}
    taken = {
        tuple(int(v) for v in base[i % 1000])
        for i in present_ids(segment_map)
        if i % 1000 < num_classes
    }
    spare = (
        c
        for c in (
            tuple(int(v) for v in row) for row in distinct_colors(num_classes + 400)[num_classes:]
        )
        if c not in taken
    )
    seen_things = set()
    for segment in present_ids(segment_map):
        label = int(segment) % 1000
        if label >= num_classes:
            continue
        if label < num_things_classes and label in seen_things:
            colors[int(segment)] = next(spare, tuple(int(v) for v in base[label]))
        else:
            colors[int(segment)] = tuple(int(v) for v in base[label])
            seen_things.add(label)
    return colors


def matched_colors(
    colors: Mapping[int, Color], reference_colors: Mapping[int, Color], matches: Mapping[int, int]
) -> dict[int, Color]:
    """``colors``, but every segment that matches one of the reference (``{segment: reference}``) has that one's color.

    A segment without a match keeps its own color, or a spare one where a reference segment has it already.
    """
    taken = set(reference_colors.values())
    spare = (
        c
        for c in (
            tuple(int(v) for v in row)
            for row in distinct_colors(len(colors) + len(taken) + 200)[200:]
        )
        if c not in taken
    )
    result = {}
    for segment, color in colors.items():
        if segment in matches:
            result[segment] = reference_colors[matches[segment]]
        else:
            result[segment] = next(spare) if color in taken else color
    return result
