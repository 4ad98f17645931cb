"""All tables of an evaluation, from files with the truth and the predictions.

This module imports neither torch nor mmdet.
"""

from collections.abc import Mapping, Sequence
from typing import Any

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

from .bootstrap import bootstrap, rare_classes
from .sources import find_predictions


class SavedEvaluation:
    """The scores of the images, and the tables over them; figures are fractions as panopticapi's.

    ``kinds`` says of each category of the truth, things first, whether it is one of things, and
    ``names`` has their names. ``figures`` and ``boundary`` are those of PQ and of boundary PQ,
    ``sizes`` has PQ by COCO's ranges of areas and by the quarters of the areas of these data, and
    ``intervals`` the 95 % interval of PQ of each group. ``confusion`` is by true (row) and
    predicted class, the last of void, in pixels and segments; ``confused`` has its largest errors.
    """

    def __init__(self, categories: Mapping[int, dict], images: Sequence[ImageScore]) -> None:
        order = sorted(categories, key=lambda i: categories[i]['isthing'] != 1)
        self.images = images
        self.kinds = kinds = {i: categories[i]['isthing'] == 1 for i in order}
        self.names = [str(categories[i].get('name', i)) for i in order]
        self.figures = aggregate((image.counts for image in images), kinds)
        self.boundary = aggregate((image.boundary_counts for image in images), kinds)
        found = bootstrap([images], kinds)
        self.intervals = {group: row['intervals'][0] for group, row in found.items()}
        self.rare_classes = rare_classes(images, order)
        self.segments = segments = all_segments(images)
        self.lost, self.calibration = lost_pq(segments, kinds), calibration(segments)
        edges = dict(coco=COCO_EDGES, quarters=quantile_edges(segments))
        self.sizes = {name: by_size(segments, kinds, values) for name, values in edges.items()}
        self.confusion = dict(
            pixels=pixel_confusion(np.concatenate([image.pixels for image in images]), order),
            segments=segment_confusion(segments, order),
        )
        self.confused = {u: most_confused(m, self.names) for u, m in self.confusion.items()}

    def to_dict(self) -> dict:
        """The content for a JSON; the keys of panopticapi are at the top level."""
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


def evaluate_saved(truth: PanopticSplit, predictions: str, **options: Any) -> SavedEvaluation:
    """Evaluate the predictions at a path: see ``find_predictions`` and ``folder_scores``."""
    found = find_predictions(predictions)
    files = str(truth.ann_file), str(truth.seg_dir), *found
    return SavedEvaluation(*folder_scores(*files, by_name=True, with_boundary=True, **options))
