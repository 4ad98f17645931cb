"""The first images of every data set go through the data preprocessor before a run starts."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cmt_deeplab.datasets import check_samples
from cmt_deeplab.datasets.dataset_check import one_metainfo
from cmt_deeplab.engine import PanopticSizeCheckHook
from cmt_deeplab.errors import UserError
from mmdet.registry import DATASETS, MODELS
from mmengine.runner import BaseLoop
from torch import nn

LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')]
PACK = dict(type='PackPanopticInputs')


def scenes(root, *transforms, load=LOAD, pack=PACK):
    return DATASETS.build(
        dict(
            type='ShapesPanopticDataset',
            data_root=str(root),
            ann_file='annotations/panoptic_train2017.json',
            data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
            pipeline=[*load, *transforms, pack],
            image_size=(96, 96),
        )
    )


def enlarged(width, height):
    resize = dict(type='Resize', scale=(width, height))
    return dict(type='PanopticGeometricTransforms', transforms=[resize])


@pytest.fixture
def preprocessor():
    return MODELS.build(
        dict(
            type='PanopticDataPreprocessor',
            align_corners=True,
            size=(97, 97),
            num_things_classes=6,
            num_stuff_classes=5,
        )
    )


class Loop(BaseLoop):
    def __init__(self, dataset):
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self):
        pass


def test_an_image_larger_than_the_input(shapes_root, preprocessor):
    check_samples(scenes(shapes_root), preprocessor)
    model = nn.Module()
    model.data_preprocessor = preprocessor
    runner = SimpleNamespace(model=model, _train_loop=Loop(scenes(shapes_root, enlarged(130, 90))))
    with pytest.raises(UserError, match='An image of 90x130 pixels does not fit data_preprocessor'):
        PanopticSizeCheckHook().before_run(runner)


def test_samples_that_are_not_packed(shapes_root, preprocessor):
    inner = scenes(shapes_root, pack=dict(type='PanopticRandomFlip'))
    with pytest.raises(UserError, match='does not pack its samples: end it in PackPanopticInputs'):
        check_samples(inner, preprocessor)


def test_half_a_truth(shapes_root, preprocessor):
    load = [LOAD[0], dict(type='LoadPanopticAnnotations', with_seg=False)]
    inner = scenes(shapes_root, load=load, pack=dict(type='PackDetInputs'))
    with pytest.raises(UserError, match='no class map of stuff'):
        check_samples(inner, preprocessor)


def test_wrappers_and_their_pipelines(shapes_root, preprocessor):
    inner = dict(
        type='ShapesPanopticDataset',
        data_root=str(shapes_root),
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        pipeline=LOAD,
    )
    mosaic = dict(type='MultiImageMixDataset', dataset=inner, pipeline=[dict(type='Mosaic'), PACK])
    model = nn.Module()
    for model.data_preprocessor in (preprocessor, nn.Identity()):
        runner = SimpleNamespace(model=model, _train_loop=Loop(DATASETS.build(mosaic)))
        with pytest.raises(UserError, match='Mosaic'):
            PanopticSizeCheckHook().before_run(runner)
    repeated = dict(type='RepeatDataset', dataset=dict(inner, pipeline=[*LOAD, PACK]), times=2)
    check_samples(DATASETS.build(repeated), preprocessor)


def test_random_generators_stay_as_they_are(shapes_root, preprocessor):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    dataset, before = scenes(shapes_root, dict(type='PanopticRandomFlip')), states()
    check_samples(dataset, preprocessor)
    assert states() == before


def test_images_are_normalized_once(shapes_root, preprocessor):
    twice = scenes(shapes_root, dict(type='Normalize', mean=[123.7] * 3, std=[58.4] * 3))
    with pytest.raises(UserError, match='remove Normalize from the pipeline'):
        check_samples(twice, preprocessor)
    check_samples(scenes(shapes_root, dict(type='PhotoMetricDistortion')), preprocessor)
    preprocessor.mean.zero_()  # a preprocessor that leaves values as they are
    check_samples(twice, preprocessor)


def stated(root, kind, *lists, wrap=None, **further):
    """A wrapper of data sets, each with the things and colors of one of the lists."""
    names = ('stripes', 'checks', 'dots', 'grain', 'gradient')
    parts = [
        dict(
            type='ShapesPanopticDataset',
            data_root=str(root),
            ann_file='annotations/panoptic_train2017.json',
            data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
            pipeline=[],
            metainfo=dict(
                thing_classes=things,
                stuff_classes=names,
                palette=[(9 * number + k, 0, 0) for k in range(11)],
            ),
        )
        for number, things in enumerate(lists)
    ]
    parts = [wrap(part) for part in parts] if wrap else parts
    return dict(type=kind, datasets=parts, **further)


ORDER = ('disk', 'square', 'triangle', 'star', 'ring', 'cross')
OTHER = ORDER[::-1]


def repeated(dataset):
    return dict(type='RepeatDataset', times=2, dataset=dataset)


def test_data_sets_in_a_wrapper_have_the_same_classes(shapes_root):
    ignoring = dict(ignore_keys=['classes', 'thing_classes', 'palette'])
    for config in (
        stated(shapes_root, 'ConcatDataset', ORDER, OTHER),
        stated(shapes_root, 'ConcatDataset', ORDER, ORDER, OTHER, wrap=repeated),
        repeated(stated(shapes_root, 'ConcatDataset', ORDER, OTHER, **ignoring)),
        dict(type='ConcatDataset', datasets=[stated(shapes_root, 'ConcatDataset', ORDER, OTHER)]),
        stated(shapes_root, 'mmengine.ConcatDataset', ORDER, OTHER, **ignoring),
    ):
        with pytest.raises(UserError, match="label 0 is the thing 'disk' in .* 'cross' in"):
            one_metainfo(DATASETS.build(config))


def test_other_colors_in_a_wrapper_are_no_other_classes(shapes_root):
    twice = stated(shapes_root, 'ConcatDataset', ORDER, ORDER)
    nested = dict(type='ConcatDataset', datasets=[repeated(twice), twice['datasets'][0]])
    leaf_first = dict(type='ConcatDataset', datasets=nested['datasets'][::-1])
    for config in (twice, repeated(twice), nested, leaf_first):
        metainfo = DATASETS.build(config).metainfo
        assert metainfo['classes'][:6] == ORDER and len(metainfo['palette']) == 11
