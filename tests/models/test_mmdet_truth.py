"""Our models train from samples of mmdet's own pipelines: masks of things and a class map."""

import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData, PixelData
from small_model import build_small

LOAD = dict(type='LoadImageFromFile')
OURS = [LOAD, dict(type='LoadPanopticIndexMap'), dict(type='PackPanopticInputs')]
MASKS = [*OURS[:2], dict(type='IndexMapToMasks'), dict(type='PackDetInputs')]
THEIRS = [LOAD, dict(type='LoadPanopticAnnotations'), dict(type='PackDetInputs')]


def scenes(root, pipeline, type_='ShapesPanopticDataset', **kwargs):
    config = dict(
        type=type_,
        data_root=str(root),
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        pipeline=pipeline,
        **kwargs,
    )
    return DATASETS.build(config)


def preprocessor(things=6, stuff=5, size=(97, 97)):
    return MODELS.build(
        dict(
            type='PanopticDataPreprocessor',
            align_corners=True,
            size=size,
            num_things_classes=things,
            num_stuff_classes=stuff,
        )
    )


def packed(masks, labels, class_map, **fields):
    sample = DetDataSample(**fields)
    sample.gt_instances = InstanceData(labels=torch.tensor(labels, dtype=torch.int64))
    if masks is not None:
        masks = np.array(masks, np.uint8).reshape(-1, 3, 4)
        sample.gt_instances.masks = BitmapMasks(list(masks), 3, 4)
    if class_map is not None:
        sample.gt_sem_seg = PixelData(sem_seg=torch.tensor(class_map)[None])
    return dict(inputs=[torch.zeros(3, 3, 4, dtype=torch.uint8)], data_samples=[sample])


def segments(sample):
    """Each segment as its label and its pixels, in an order of its own."""
    plane = sample.gt_panoptic_seg.index_map[0]
    labels = sample.gt_segments.labels.tolist()
    return sorted(
        (label, *(plane == k).nonzero().flatten().tolist()) for k, label in enumerate(labels)
    )


@pytest.mark.parametrize('pipeline', [MASKS, THEIRS], ids=['IndexMapToMasks', 'mmdet'])
def test_the_same_segments_and_the_same_loss(shapes_root, pipeline):
    pytest.importorskip('panopticapi')
    ours, theirs = scenes(shapes_root, OURS), scenes(shapes_root, pipeline)
    prepare = preprocessor()
    torch.manual_seed(0)
    model = build_small(
        num_things_classes=6, num_stuff_classes=5, data_preprocessor__size=(97, 97)
    ).train()
    for i in range(4):
        batches = [pseudo_collate([dataset[i]]) for dataset in (ours, theirs)]
        samples = [prepare(batch, training=True)['data_samples'][0] for batch in batches]
        assert segments(samples[0]) == segments(samples[1])
        assert samples[1].gt_panoptic_seg.index_map.dtype == torch.int16
    # Nothing depends on the order of the segments if all pixels are sampled.
    for loss in model.criterion.losses.values():
        if hasattr(loss, 'num_samples'):
            loss.num_samples = 97 * 97
    losses = []
    for dataset in (ours, theirs):
        torch.manual_seed(0)
        batch = pseudo_collate([dataset[0], dataset[1]])
        losses.append(model.loss(**renamed(model.data_preprocessor(batch, training=True))))
    for name, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][name], rtol=1e-4, atol=1e-5)


def renamed(data):
    return dict(batch_inputs=data['inputs'], batch_data_samples=data['data_samples'])


def test_overlaps_crowds_and_what_is_gone():
    """Two things of which the larger comes last; a crowd of class 1; stuff 2 under it; void."""
    small, large = np.zeros((3, 4)), np.zeros((3, 4))
    small[0, :2], large[:2, :3] = 1, 1
    class_map = [[0, 0, 0, 1], [0, 0, 0, 1], [2, 2, 255, 9]]
    batch = packed([small, large, np.zeros((3, 4))], [0, 1, 1], class_map)
    sample = preprocessor(2, 2, (33, 33))(batch, training=True)['data_samples'][0]
    plane = sample.gt_panoptic_seg.index_map[0]
    assert plane[:3, :4].tolist() == [[0, 0, 1, -1], [1, 1, 1, -1], [2, 2, -1, -1]]
    assert (plane[3:] == -2).all() and (plane[:, 4:] == -2).all()
    assert sample.gt_segments.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ('batch', 'sentence'),
    [
        (packed(None, [], None), 'has no ground truth: .*LoadPanopticIndexMap'),
        (packed(None, [], np.zeros((3, 4), int)), 'has no masks of things'),
        (packed(np.ones((1, 3, 4)), [0], None), 'has no class map of stuff'),
        (packed(np.ones((1, 3, 4)), [0], np.zeros((2, 2), int)), 'is 2 x 2 pixels .*SegRescale'),
    ],
)
def test_incomplete_truth_is_one_sentence(batch, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        preprocessor(2, 2, (33, 33))(batch, training=True)
    assert str(error.value).endswith('.') and '\n' not in str(error.value)


def test_masks_of_models_of_mmdet_are_padded():
    """Without class counts masks and class map stay, but lie on the padded input."""
    prepare = preprocessor(None, None, (33, 33))
    batch = packed(np.ones((1, 3, 4)), [0], np.full((3, 4), 3))
    sample = prepare(batch, training=True)['data_samples'][0]
    masks, class_map = sample.gt_instances.masks.masks, sample.gt_sem_seg.sem_seg
    assert masks.shape == (1, 33, 33) and masks.sum() == 12 and masks[0, :3, :4].all()
    assert class_map.shape == (1, 33, 33) and (class_map[0, :3, :4] == 3).all()
    assert (class_map == 255).sum() == 33 * 33 - 12
    assert 'gt_panoptic_seg' not in sample
