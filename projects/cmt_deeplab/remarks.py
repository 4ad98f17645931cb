"""What is right but needs a word, said once of a whole data set or evaluation.

This module imports neither torch nor mmdet.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)  # mmengine turns a NamedTuple into a plain one
class ImageScore:
    """What an evaluation keeps of one image; ``counts`` by category are those of ``pq``."""

    image_id: Hashable
    counts: Mapping[int, Sequence[float]]
    wrong_areas: Sequence[tuple[int, str]]  # of truth and prediction, see the function
    segments: np.ndarray  # of segment_rows.ROW
    pixels: np.ndarray  # (N, 3) of class_pairs
    boundary_counts: Mapping[int, Sequence[float]] | None = None  # of boundary PQ

    @property
    def quality(self) -> float:
        """PQ of this image in percent, where the segments of all classes are taken together.

        It is 100 where there was nothing to find and nothing was found.
        """
        iou_sum, tp, fp, fn = np.reshape([*self.counts.values()], (-1, 4)).sum(axis=0)
        weight = tp + (fp + fn) / 2
        return 100 * float(iou_sum / weight) if weight else 100.0


def wrong_areas(
    ids: np.ndarray, stated: np.ndarray | float, counted: np.ndarray
) -> tuple[int, str]:
    """How many areas that a JSON states, NaN where it does not, are not the pixels; the first."""
    wrong = np.flatnonzero((stated != counted) & ~np.isnan(stated))
    for k in wrong[:1]:
        words = f'segment {ids[k]} with the area {stated[k]:.15g} and {counted[k]} pixels'
        return len(wrong), words
    return 0, ''


def evaluation_remarks(
    scores: Sequence[ImageScore], stuff: Mapping[int, str], truth: str, prediction: str
) -> Iterator[str]:
    """The sentences on an evaluation; ``stuff`` has the names of the stuff classes by category."""
    if scores and not any(tp + fn for s in scores for _, tp, _, fn in s.counts.values()):
        yield f'There is nothing to find in {truth}, which has no segment but crowds: PQ is 0.'
    for side, where in enumerate((truth, prediction)):
        wrong = [(s.image_id, *s.wrong_areas[side]) for s in scores if s.wrong_areas[side][0]]
        for image_id, _, first in wrong[:1]:
            number = sum(number for _, number, _ in wrong)
            yield (
                f'The "area" of {number} segment{"s" * (number > 1)} in {where} is not '
                f'that of the PNGs (first: {first}, of image {image_id}): the pixels were counted; '
                'correct the areas, which other programs believe.'
            )
        # A prediction may have as many segments of a category as the truth.
        numbers = (
            (score.image_id, category, *((tp + fp, tp + fn) if side else (tp + fn, 1)))
            for score in scores
            for category, (_, tp, fp, fn) in score.counts.items()
        )
        yield from _on_split_stuff(numbers, stuff, where)


def json_remarks(content: Mapping, path: str) -> Iterator[str]:
    """The sentence on the stuff that is split in the panoptic JSON at ``path``, crowds aside."""
    stuff = {c['id']: c['name'] for c in content['categories'] if not c['isthing']}
    numbers = (
        (annotation['image_id'], category, number, 1)
        for annotation in content['annotations']
        for category, number in Counter(
            s['category_id'] for s in annotation['segments_info'] if not s.get('iscrowd')
        ).items()
    )
    yield from _on_split_stuff(numbers, stuff, path)


def _on_split_stuff(
    numbers: Iterable[tuple[Hashable, int, float, float]], stuff: Mapping[int, str], where: str
) -> Iterator[str]:
    """One sentence, or none, on (image, category, its number of segments, the number expected)."""
    split = [
        (image_id, stuff[category], int(number))
        for image_id, category, number, expected in numbers
        if number > max(expected, 1) and category in stuff
    ]
    for image_id, name, number in split[:1]:
        yield (
            f'{len({image for image, *_ in split})} images of {where} have several segments of one '
            f'stuff class (first: {number} of {name!r} in image {image_id}), and PQ counts each of '
            'them: give a stuff class one segment in an image, in the JSON and in the PNG.'
        )
