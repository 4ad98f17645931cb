"""What the pictures call right and wrong is what the metric counts."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cmt_deeplab.coco_format import INSTANCE_OFFSET
from cmt_deeplab.datasets.packing import PanopticIndexData
from cmt_deeplab.evaluation import PanopticQualityMetric
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData, PixelData
from quickstart.recorder import best_median_worst, validated_image

CLASSES = ('cat', 'dog', 'grass')
VOID = len(CLASSES)


def sample(index_map, labels, is_crowd, segment_map) -> DetDataSample:
    """Segments 0..K-1 of ``index_map`` (-1 on void) with their labels, and a predicted map."""
    result = DetDataSample(metainfo=dict(img_id=1, img_path='1.png'))
    result.gt_panoptic_seg = PanopticIndexData(
        metainfo=dict(labels=tuple(labels), num_classes=VOID),
        index_map=torch.as_tensor(index_map, dtype=torch.int16)[None],
    )
    result.gt_segments = InstanceData(
        labels=torch.tensor(labels, dtype=torch.int64),
        is_crowd=torch.tensor(is_crowd, dtype=torch.bool),
        ids=torch.arange(len(labels)),
    )
    result.pred_panoptic_seg = PixelData(sem_seg=torch.as_tensor(segment_map)[None])
    return result


def counts_of_the_metric(data_sample: DetDataSample) -> tuple[int, int]:
    """True and false positives of one image, as PQ counts them."""
    metric = PanopticQualityMetric()
    metric.dataset_meta = dict(classes=CLASSES, thing_classes=CLASSES[:2])
    metric.process(None, [data_sample.to_dict()])
    counts = metric.results[0][2].counts.values()
    return sum(tp for _, tp, _, _ in counts), sum(fp for _, _, fp, _ in counts)


def test_of_two_crowds_of_a_class_the_pictures_forgive_the_one_that_pq_forgives():
    index = np.full((10, 10), -1)
    index[:, :3], index[:, 3:6], index[:5, 6:] = 0, 1, 2  # two crowds of cats, and grass
    found = np.full((10, 10), VOID)
    found[:, :3], found[:, 3:6] = 0 + 1 * INSTANCE_OFFSET, 0 + 2 * INSTANCE_OFFSET
    found[:5, 6:] = 2
    data_sample = sample(index, [0, 0, 2], [True, True, False], found)
    image = validated_image(0, data_sample, VOID)
    assert image.crowds == [1 * INSTANCE_OFFSET, 2 * INSTANCE_OFFSET]
    # panopticapi knows only the last crowd of a class, so the cat on the first one is wrong
    assert image.false_positives == [1 * INSTANCE_OFFSET]
    assert image.matches == {2: 2 + 3 * INSTANCE_OFFSET}
    assert counts_of_the_metric(data_sample) == (1, 1)


def test_red_borders_are_the_false_positives_of_the_metric():
    rng = np.random.default_rng(3)
    for _ in range(20):
        index = rng.integers(-1, 6, (4, 4)).repeat(6, 0).repeat(6, 1)
        labels = rng.integers(0, VOID, 6)
        crowds = rng.random(6) < 0.4
        as_found = np.append(labels + INSTANCE_OFFSET * rng.permutation(6), VOID)
        found = np.roll(as_found[index], 1, axis=0)
        found[rng.random(found.shape) < 0.2] = VOID
        data_sample = sample(index, labels.tolist(), crowds.tolist(), found)
        image = validated_image(0, data_sample, VOID)
        counted = len(image.matches), len(image.false_positives)
        assert counted == counts_of_the_metric(data_sample)
        assert not set(image.matches) & set(image.false_positives)


def test_the_examples_are_the_best_middle_and_worst_without_repetition():
    def named(qualities):
        images = [SimpleNamespace(quality=q, position=i) for i, q in enumerate(qualities)]
        return [(name, image.position) for name, image in best_median_worst(images)]

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


def test_the_quality_of_an_image_takes_all_its_segments_together():
    index = np.array([[0, 0], [1, 1]])
    maps = ([[INSTANCE_OFFSET] * 2, [2, 2]], [[VOID, VOID], [2, 2]], [[VOID] * 2] * 2)
    samples = [sample(index, [0, 2], [False, False], segment_map) for segment_map in maps]
    qualities = [validated_image(0, s, VOID).quality for s in samples]
    assert qualities == pytest.approx([100, 100 / 1.5, 0])
    nothing = validated_image(0, sample(np.full((2, 2), -1), [], [], maps[2]), VOID)
    assert nothing.quality == 100
