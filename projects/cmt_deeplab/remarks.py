"""What is right but needs a word, said once of a whole data set or evaluation.

This module imports neither torch nor mmdet.
"""

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class SplitStuff(NamedTuple):
    """Several segments of one stuff class in one image."""

    image_id: Hashable
    name: str
    number: int


class WrongAreas(NamedTuple):
    """Segments of one image whose stated area is not the one in the PNG, and one of them."""

    number: int
    example: str


@dataclass(frozen=True)  # mmengine turns a NamedTuple into a plain one
class ImageScore:
    """What an evaluation keeps of one image; ``counts`` by category are those of ``pq``."""

    image_id: Hashable
    counts: Mapping[int, Sequence[float]]
    areas: tuple[WrongAreas | None, WrongAreas | None] = (None, None)  # of truth and prediction


def wrong_areas(
    ids: np.ndarray, stated: np.ndarray | None, counted: np.ndarray
) -> WrongAreas | None:
    """Compare the areas that a JSON states, NaN where it does not, with the pixels."""
    wrong = [] if stated is None else np.flatnonzero((stated != counted) & ~np.isnan(stated))
    if not len(wrong):
        return None
    k = wrong[0]
    example = f'segment {ids[k]} with the area {stated[k]:.15g} and {counted[k]} pixels'
    return WrongAreas(len(wrong), example)


def evaluation_remarks(
    scores: Sequence[ImageScore], stuff: Mapping[int, str], truth: str, prediction: str
) -> Iterator[str]:
    """The sentences on an evaluation; ``stuff`` has the names of the stuff classes by category."""
    for side, where in enumerate((truth, prediction)):
        yield from _on_areas([(s.image_id, s.areas[side]) for s in scores if s.areas[side]], where)
        found = []
        for score in scores:
            for category, (_, tp, fp, fn) in score.counts.items():
                # a prediction may have as many segments of a category as the truth
                number, expected = (tp + fp, tp + fn) if side else (tp + fn, 1)
                if category in stuff and number > max(expected, 1):
                    found.append(SplitStuff(score.image_id, stuff[category], int(number)))
        yield from split_stuff_remark(found, where, is_prediction=side == 1)


def _on_areas(found: Sequence[tuple[Hashable, WrongAreas]], where: str) -> Iterator[str]:
    if found:
        image_id, first = found[0]
        yield (
            f'The "area" of {sum(areas.number for _, areas in found)} segments in {where} is not '
            f'that of the PNGs (first: {first.example}, of image {image_id}): the pixels were '
            'counted; correct the areas, which other programs believe.'
        )


def split_stuff_of(content: Mapping) -> list[SplitStuff]:
    """The stuff of a panoptic JSON that is split, crowds left aside."""
    stuff = {c['id']: c.get('name', c['id']) for c in content['categories'] if c['isthing'] != 1}
    found = []
    for annotation in content['annotations']:
        ids = [s['category_id'] for s in annotation['segments_info'] if not s.get('iscrowd')]
        for category, number in Counter(ids).items() if len({*ids}) < len(ids) else ():
            if number > 1 and category in stuff:
                found.append(SplitStuff(annotation['image_id'], stuff[category], number))
    return found


def split_stuff_remark(
    found: Sequence[SplitStuff], where: str, *, is_prediction: bool = False
) -> Iterator[str]:
    """One sentence on the stuff that is split in ``where``, or none."""
    if found:
        image_id, name, number = found[0]
        images = len({entry.image_id for entry in found})
        lost = sum(entry.number - 1 for entry in found)
        cost = f'{lost} are false positives' if is_prediction else f'one piece misses {lost}'
        yield (
            f'{images} images of {where} have several segments of one stuff class (first: {number} '
            f'of {name!r} in image {image_id}): PQ counts each by itself, so that {cost} of them; '
            'give a stuff class one segment in an image, in the JSON and in the PNG.'
        )
