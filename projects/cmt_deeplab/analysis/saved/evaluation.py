"""All tables of an evaluation, from the truth and the predictions in files.

This module imports neither torch nor mmdet.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cmt_deeplab.analysis.lost_pq import lost_pq
from cmt_deeplab.analysis.segment_rows import all_segments
from cmt_deeplab.analysis.segment_tables import (
    COCO_EDGES,
    by_size,
    calibration,
    most_confused,
    pixel_confusion,
    quantile_edges,
    segment_confusion,
)
from cmt_deeplab.evaluation.coco_panoptic import folder_scores
from cmt_deeplab.evaluation.pq import aggregate
from cmt_deeplab.own_data.panoptic_folder import PanopticSplit
from cmt_deeplab.remarks import ImageScore

from .bootstrap import bootstrap
from .sources import find_predictions


@dataclass(frozen=True)
class SavedEvaluation:
    """The scores of the images, and the tables over them; figures are fractions as panopticapi's.

    ``categories`` are those of the truth by id, things first.
    """

    categories: dict[int, dict]
    images: list[ImageScore]

    @cached_property
    def kinds(self) -> dict[int, bool]:
        """Whether each category is one of things."""
        return {i: category['isthing'] == 1 for i, category in self.categories.items()}

    @cached_property
    def names(self) -> list[str]:
        return [str(category.get('name', i)) for i, category in self.categories.items()]

    @cached_property
    def segments(self) -> np.ndarray:
        return all_segments(self.images)

    @cached_property
    def figures(self) -> dict[str, dict]:
        return aggregate((image.counts for image in self.images), self.kinds)

    @cached_property
    def boundary(self) -> dict[str, dict]:
        """The figures of boundary PQ."""
        return aggregate((image.boundary_counts for image in self.images), self.kinds)

    @cached_property
    def lost(self) -> dict[str, dict]:
        return lost_pq(self.segments, self.kinds)

    @cached_property
    def calibration(self) -> dict | None:
        return calibration(self.segments)

    @cached_property
    def sizes(self) -> dict[str, list[dict]]:
        """PQ by COCO's ranges of areas, and by the quarters of the areas of this data set."""
        edges = dict(coco=COCO_EDGES, quarters=quantile_edges(self.segments))
        return {name: by_size(self.segments, self.kinds, values) for name, values in edges.items()}

    @cached_property
    def intervals(self) -> dict[str, list[float]]:
        """The 95 % interval of PQ of each group."""
        found = bootstrap([self.images], self.kinds)
        return {group: row['intervals'][0] for group, row in found.items()}

    @cached_property
    def confusion(self) -> dict[str, np.ndarray]:
        """By true (row) and predicted class, the last of void, in pixels and segments."""
        pairs = np.concatenate([image.pixels for image in self.images])
        return dict(
            pixels=pixel_confusion(pairs, [*self.kinds]),
            segments=segment_confusion(self.segments, [*self.kinds]),
        )

    @cached_property
    def confused(self) -> dict[str, list[dict]]:
        """The pairs of classes that are confused most."""
        return {u: most_confused(matrix, self.names) for u, matrix in self.confusion.items()}

    def to_dict(self) -> dict:
        """What a JSON holds of it. The keys of panopticapi stand at the top."""
        return dict(
            self.figures,
            intervals=self.intervals,
            boundary=self.boundary,
            lost_pq=self.lost,
            by_size=self.sizes,
            calibration=self.calibration,
            most_confused=self.confused,
            images=[dict(image_id=i.image_id, pq=i.quality / 100) for i in self.images],
        )


def evaluate_saved(
    truth: PanopticSplit,
    predictions: str,
    *,
    warn: Callable[[str], object] = warnings.warn,
    track: Callable[[Iterator, int], Iterable] = lambda images, total: images,
) -> SavedEvaluation:
    """Evaluate the predictions at a path, see ``find_predictions`` and ``folder_scores``."""
    categories, images = folder_scores(
        str(truth.ann_file),
        str(truth.seg_dir),
        *find_predictions(predictions),
        by_name=True,
        with_boundary=True,
        warn=warn,
        track=track,
    )
    things_first = sorted(categories.items(), key=lambda item: item[1]['isthing'] != 1)
    return SavedEvaluation(dict(things_first), images)
