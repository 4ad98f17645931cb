"""The adapter against mmdet's own loading, on the same files."""

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, TRANSFORMS
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

OURS = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='IndexMapToMasks'),
]
MMDET = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticAnnotations')]


def build(pipeline, root, split='train', type_='PanopticIndexDataset', **kwargs):
    return DATASETS.build(
        dict(
            type=type_,
            data_root=str(root),
            ann_file=f'annotations/panoptic_{split}2017.json',
            pipeline=pipeline,
            data_prefix=dict(img=f'{split}2017/', seg=f'annotations/panoptic_{split}2017/'),
            **kwargs,
        )
    )


def assert_same(ours, theirs):
    assert isinstance(ours['gt_masks'], BitmapMasks) and isinstance(
        ours['gt_bboxes'], HorizontalBoxes
    )
    assert (
        ours['gt_masks'].masks.dtype == theirs['gt_masks'].masks.dtype
        or len(theirs['gt_masks']) == 0
    )
    assert ours['gt_masks'].masks.shape == theirs['gt_masks'].masks.shape
    assert (ours['gt_masks'].masks == theirs['gt_masks'].masks).all()
    for key in ('gt_bboxes_labels', 'gt_ignore_flags', 'gt_seg_map'):
        assert ours[key].dtype == theirs[key].dtype and ours[key].shape == theirs[key].shape, key
        assert (ours[key] == theirs[key]).all(), key
    boxes, expected = ours['gt_bboxes'].tensor, theirs['gt_bboxes'].tensor
    assert boxes.dtype == expected.dtype and boxes.shape == expected.shape
    return abs(boxes - expected).amax(1) if len(boxes) else torch.zeros(0)


def test_as_mmdet_on_generated_scenes(shapes_root):
    pytest.importorskip('panopticapi')  # mmdet's loader needs it
    ours, theirs = build(OURS, shapes_root), build(MMDET, shapes_root, 'train')
    for i in range(len(ours)):
        assert (assert_same(ours[i], theirs[i]) == 0).all()


def test_as_mmdet_on_real_images(real_data):
    pytest.importorskip('panopticapi')
    ours = build(OURS, real_data / 'coco', indices=40)
    theirs = build(MMDET, real_data / 'coco', type_='CocoPanopticDataset', indices=40)
    off = torch.cat([assert_same(ours[i], theirs[i]) for i in range(len(ours))])
    assert (
        off == 0
    ).float().mean() > 0.95 and off.max() <= 1  # the file's boxes are not always tight


def test_packs_for_mmdet_after_geometry(shapes_root):
    pipeline = [
        *OURS[:2],
        dict(type='PanopticLargeScaleJitter', crop_size=(65, 65)),
        dict(type='PanopticRandomFlip'),
        OURS[2],
        dict(type='PackDetInputs'),
    ]
    np.random.seed(0)
    dataset = build(pipeline, shapes_root)
    for packed in (dataset[i] for i in range(12)):
        sample = packed['data_samples']
        h, w = sample.img_shape
        masks = sample.gt_instances.masks.masks
        assert masks.shape == (
            len(sample.gt_instances.labels),
            h,
            w,
        ) and sample.gt_sem_seg.sem_seg.shape == (1, h, w)
        semantic = sample.gt_sem_seg.sem_seg[0].numpy()
        for mask, label, box in zip(
            masks, sample.gt_instances.labels, sample.gt_instances.bboxes.tensor
        ):
            assert mask.any() and (semantic[mask > 0] == int(label)).all()
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_without_things_and_errors():
    adapter = TRANSFORMS.build(dict(type='IndexMapToMasks'))
    stuff = dict(label=255, of_thing_class=False, is_crowd=False, id=1, category_id=1)
    out = adapter(
        dict(gt_index_map=np.zeros((4, 6), np.int16), gt_segments_info=[{**stuff, 'label': 9}])
    )
    assert (
        len(out['gt_masks']) == 0
        and out['gt_bboxes'].tensor.shape == (0, 4)
        and (out['gt_seg_map'] == 9).all()
    )
    with pytest.raises(ValueError, match='set ignore_index'):
        adapter(dict(gt_index_map=np.zeros((4, 6), np.int16), gt_segments_info=[stuff]))
    with pytest.raises(ValueError, match='put LoadPanopticIndexMap before it'):
        adapter({})
