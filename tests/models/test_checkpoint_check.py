"""A checkpoint that does not belong to the config is refused by mmdet's inference API too."""

from pathlib import Path

import pytest
import torch
from cmt_deeplab.analysis.compared_model import ComparedModel, SharedData, build_network
from cmt_deeplab.datasets import ShapesPanopticDataset
from cmt_deeplab.errors import UserError
from mmdet.apis import DetInferencer, init_detector
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import MODELS
from mmengine.config import Config

TINY = Path(__file__).resolve().parents[2] / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
SHAPES = ShapesPanopticDataset.METAINFO
REVERSED = dict(SHAPES, thing_classes=SHAPES['thing_classes'][::-1])
REVERSED['classes'] = REVERSED['thing_classes'] + SHAPES['stuff_classes']


def by_init_detector(config, checkpoint):
    return init_detector(config, checkpoint, device='cpu')


def by_inferencer(config, checkpoint):
    return DetInferencer(config, checkpoint, device='cpu', show_progress=False).model


@pytest.fixture(params=[by_init_detector, by_inferencer])
def route(request):
    return request.param


@pytest.fixture
def checkpoint(tmp_path):
    """Write the weights of the tiny model with a ``meta``."""

    def write(meta, **model):
        config = tiny(**model)
        weights = MODELS.build(config.model).state_dict()
        torch.save(dict(state_dict=weights, meta=meta), tmp_path / 'tiny.pth')
        return str(tmp_path / 'tiny.pth')

    return write


def tiny(**model) -> Config:
    config = Config.fromfile(str(TINY))
    config.model.update(model)
    return config


def any_classes(config: Config) -> Config:
    """The config with the classes of the annotation file, which is not read."""
    config.test_dataloader.dataset.type = 'PanopticIndexDataset'
    return config


def test_the_classes_of_the_checkpoint(route, checkpoint):
    model = route(tiny(), checkpoint(dict(dataset_meta=SHAPES)))
    assert model.dataset_meta['classes'] == SHAPES['classes'] and model.cfg is not None
    path = checkpoint(dict(dataset_meta=REVERSED))
    for config in any_classes(tiny()), tiny():  # the labels of a prediction are the checkpoint's
        assert route(config, path).dataset_meta['classes'][0] == 'cross'
    things = ['disc', *SHAPES['thing_classes'][1:]]
    other = dict(SHAPES, thing_classes=things, classes=[*things, *SHAPES['stuff_classes']])
    with pytest.raises(UserError, match="the thing 'disc'.*use another checkpoint"):
        route(tiny(), checkpoint(dict(dataset_meta=other)))


def test_class_counts_that_differ(route, checkpoint):
    coco = dict(dataset_meta=CocoPanopticDataset.METAINFO)
    with pytest.raises(UserError, match='trained for 80 thing and 53 stuff classes, but the conf'):
        route(any_classes(tiny()), checkpoint(coco))
    path = checkpoint(dict(dataset_meta=SHAPES), num_things_classes=7)
    with pytest.raises(UserError, match=r"'panoptic_head.* has shape .*13.* in the checkpoint and"):
        route(tiny(), path)


def test_checkpoints_that_do_not_tell_things_from_stuff(route, checkpoint):
    plain = route(tiny(), checkpoint({})).dataset_meta
    assert plain['classes'] == SHAPES['classes'] and plain['thing_classes'][0] == 'disk'
    numbered = route(any_classes(tiny()), checkpoint({})).dataset_meta
    assert numbered['classes'][10] == 'class 10' and len(numbered['thing_classes']) == 6
    old = route(any_classes(tiny()), checkpoint(dict(CLASSES=list('abcdefghijk')))).dataset_meta
    assert old['thing_classes'] == list('abcdef') and old['stuff_classes'] == list('ghijk')


@pytest.mark.parametrize('meta, scored', [(SHAPES, True), (REVERSED, False), (None, True)])
def test_the_comparison_of_models(checkpoint, shapes_root, meta, scored):
    config = tiny()
    for split in ('train', 'val'):
        config[f'{split}_dataloader'].dataset.data_root = f'{shapes_root}/'
    path = checkpoint(dict(dataset_meta=meta))
    model = ComparedModel('tiny', config, checkpoint=path)
    build_network(model, SharedData(config), 'cpu')
    assert model.other_classes is not scored
    assert scored or "no PQ: label 0 is the thing 'cross' in the checkpoint" in model.notes[0]
