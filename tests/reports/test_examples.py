"""The images of a report and their pictures."""

from types import SimpleNamespace

import numpy as np
import torch
from cmt_deeplab.coco_format import INSTANCE_OFFSET
from cmt_deeplab.datasets.packing import PanopticIndexData
from cmt_deeplab.evaluation import PanopticQualityMetric
from cmt_deeplab.reports.examples import best_median_worst, drawn_example, true_map
from cmt_deeplab.visualization import AssignmentMap, PanopticDrawer
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData

CLASSES = ('cat', 'grass')
CAT, FOUND, GRASS = INSTANCE_OFFSET, 3 * INSTANCE_OFFSET, 1


def sample(index_map, labels, is_crowd, segment_map) -> DetDataSample:
    """Segments 0..K-1 of ``index_map`` (-1 on void) with their labels, and a predicted map."""
    result = DetDataSample(metainfo=dict(img_id=1, img_path='1.png'))
    result.gt_panoptic_seg = PanopticIndexData(
        metainfo=dict(labels=tuple(labels), num_classes=len(CLASSES)),
        index_map=torch.as_tensor(index_map, dtype=torch.int16)[None],
    )
    result.gt_segments = InstanceData(
        labels=torch.tensor(labels, dtype=torch.int64),
        is_crowd=torch.tensor(is_crowd, dtype=torch.bool),
        ids=torch.arange(len(labels)),
    )
    result.pred_panoptic_seg = PixelData(sem_seg=torch.as_tensor(segment_map)[None])
    return result


def test_the_truth_of_a_sample_has_the_values_of_its_classes():
    index = np.array([[-1, 0, 1], [2, 2, 1]])
    found, crowds = true_map(
        sample(index, [0, 1, 0], [False, False, True], index), PanopticQualityMetric(), void=2
    )
    offset = INSTANCE_OFFSET
    assert found.tolist() == [[2, offset, 1 + 2 * offset], [3 * offset] * 2 + [1 + 2 * offset]]
    assert crowds == [3 * offset]


def test_the_examples_are_the_best_middle_and_worst_without_repetition():
    def named(qualities):
        images = {i: SimpleNamespace(quality=q) for i, q in enumerate(qualities)}
        return [(name, key) for name, key, _ in best_median_worst(images)]

    assert named([10, 90, 50, 30, 70, 20, 80]) == [
        ('best', 1),
        ('best', 6),
        ('median', 4),
        ('median', 2),
        ('worst', 5),
        ('worst', 0),
    ]
    assert named([10, 20, 30]) == [('best', 2), ('best', 1), ('worst', 0)]
    assert named([5]) == [('best', 0)]


def test_a_found_segment_has_one_color_in_truth_prediction_and_layers():
    index = np.ones((24, 24), int)
    index[6:18, 6:18] = 0
    predicted = np.full((24, 24), GRASS)
    predicted[6:18, 7:19] = FOUND  # the cat one pixel to the right
    centers = np.where(predicted == FOUND, 5, 2)
    confidence = np.full((24, 24), 0.5, np.float32)
    shown = drawn_example(
        np.full((24, 24, 3), 60, np.uint8),
        sample(index, [0, 1], [False, False], predicted),
        [AssignmentMap(f'layer {i}', centers, confidence) for i in (1, 2)],
        PanopticQualityMetric(),
        drawer=PanopticDrawer(
            classes=CLASSES, num_things_classes=1, labels=False, alpha=1.0, min_side=24
        ),
        name='best',
    )
    assert shown.caption == 'best (1.png)'
    picture, truth, found = shown.pictures.values()
    assert picture.shape == truth.shape == found.shape == (24, 24, 3)
    color = truth[12, 12]
    assert (found[12, 12] == color).all() and not (truth[2, 2] == color).all()
    weight = 0.3 + 0.7 * np.sqrt(0.5)
    faded = (color * weight + 255 * (1 - weight)).round()
    layer = shown.layers['layer 1']
    assert np.abs(layer[12, 12].astype(int) - faded).max() <= 1
    assert (shown.layers['layer 2'] == layer).all()
