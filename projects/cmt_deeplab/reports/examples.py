"""The best, the middle and the worst images of an evaluation, and their pictures."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.fileio import get
from mmengine.runner import BaseLoop
from torch import nn

from cmt_deeplab.coco_format import map_value
from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation import PanopticQualityMetric
from cmt_deeplab.planes import positions
from cmt_deeplab.remarks import ImageScore
from cmt_deeplab.visualization import (
    AssignmentMap,
    PanopticDrawer,
    assignment_maps,
    center_colors,
    compared_pictures,
    draw_assignment,
)
from cmt_deeplab.visualization.picture_files import reading_as_data_set

LONGEST_SIDE = 720  # of a picture on the page
Key = tuple[Hashable, str | None]  # the img_id and the img_path of an image


@dataclass(frozen=True)
class Example:
    """An image of a report; ``pictures`` and ``layers`` by title, RGB (H, W, 3) uint8.

    They share one set of colors: a matched segment has the color of the true segment, and a center
    that of the predicted segment in which it ends.
    """

    caption: str
    pictures: Mapping[str, np.ndarray]
    layers: Mapping[str, np.ndarray]


def best_median_worst(
    images: Mapping[Key, ImageScore], each: int = 2
) -> list[tuple[str, Key, float]]:
    """The ``each`` images with the highest, the middle and the lowest PQ; no image twice.

    The PQ in percent is that of all segments of the image together.
    """
    found = sorted(((score.quality, key) for key, score in images.items()), key=lambda x: -x[0])
    end = len(found)
    names: dict[int, str] = {}  # by place; what comes later in this list takes precedence
    for name, first in (('worst', end - each), ('median', (end - each) // 2), ('best', 0)):
        names.update(dict.fromkeys(range(max(0, first), min(first + each, end)), name))
    return [(names[place], *found[place][::-1]) for place in sorted(names)]


def place_of(dataset, key: Key) -> int:
    """Where an image stands in a data set."""
    for place in range(len(dataset)):
        info = dataset.get_data_info(place)
        if (info.get('img_id'), info.get('img_path')) == key:
            return place
    raise LookupError(f'The data set has no image {key}.')


@torch.no_grad()
def example(
    model: nn.Module, loop: BaseLoop, metric: PanopticQualityMetric, *, place: int, name: str
) -> Example:
    """Predict an image of the loop's data set again, and draw it beside its truth."""
    dataset = loop.dataloader.dataset
    batch = loop.dataloader.collate_fn([dataset[place]])
    sample = model.val_step(batch)[0].cpu()
    try:
        maps = assignment_maps(unwrapped(model), batch)[0]
    except UserError:  # a model of mmdet, which has no centers
        maps = []
    with reading_as_data_set(dataset):
        content = get(sample.img_path, backend_args=getattr(dataset, 'backend_args', None))
        picture = mmcv.imfrombytes(content, channel_order='rgb')
    meta = dataset.metainfo
    drawer = PanopticDrawer(
        classes=meta['classes'],
        num_things_classes=len(meta['thing_classes']),
        max_side=LONGEST_SIDE,
    )
    return drawn_example(picture, sample, maps, metric, drawer=drawer, name=name)


def drawn_example(
    picture: np.ndarray,
    sample: DetDataSample,
    maps: Sequence[AssignmentMap],
    metric: PanopticQualityMetric,
    *,
    drawer: PanopticDrawer,
    name: str,
) -> Example:
    """The pictures of a predicted sample and of the assignment of its pixels to centers.

    ``picture`` is its image, RGB (H, W, 3) uint8.
    """
    truth, crowds = true_map(sample, metric, void=len(drawer.classes))
    prediction = np.asarray(sample.pred_panoptic_seg.sem_seg[0], np.int64)
    drawn = compared_pictures(picture, truth, prediction, drawer=drawer, crowds=crowds)
    layers = {}
    if maps:
        number = 1 + max(int(layer.centers.max()) for layer in maps)
        table = center_colors(maps[-1], prediction, drawn.colors, num_centers=number)
        layers = {layer.name: draw_assignment(layer, table) for layer in maps}
    pictures = {'image': drawn.image, drawn.true_title: drawn.truth}
    return Example(
        f'{name} ({Path(sample.img_path).name})',
        pictures | {drawn.predicted_title: drawn.prediction},
        layers,
    )


def true_map(
    sample: DetDataSample, metric: PanopticQualityMetric, *, void: int
) -> tuple[np.ndarray, list[int]]:
    """The truth of a sample as values of ``map_value`` (H, W), and which of them are crowds."""
    plane, table, _ = metric.truth_of(sample.to_dict(), lambda size: None)
    values = map_value(table.categories, np.arange(1, 1 + len(table.ids)))
    order = np.argsort(table.ids)
    found = positions(plane, table.ids[order])
    return np.append(values[order], void)[found], values[table.is_crowd].tolist()
