"""The classes of the model are those of the data sets, or the run does not start."""

import re
from types import SimpleNamespace

import pytest
import torch
from cmt_deeplab.engine.class_check import PanopticClassCheckHook
from cmt_deeplab.errors import UserError
from command_line import ROOT
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import BaseLoop
from torch import nn


class Loop(BaseLoop):
    def __init__(self, dataset):
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self):
        raise AssertionError('not run here')


def dataset(things=('a', 'b'), stuff=('c',), name='x.json'):
    return SimpleNamespace(
        metainfo=dict(classes=(*things, *stuff), thing_classes=things, stuff_classes=stuff),
        ann_file=name,
    )


class Model(nn.Module):
    def __init__(self, num_things_classes=2, num_stuff_classes=1):
        super().__init__()
        self.num_things_classes, self.num_stuff_classes = num_things_classes, num_stuff_classes


def runner(net, **loops):
    return SimpleNamespace(
        model=net,
        logger=MMLogger.get_instance('class_check'),
        **{f'_{split}_loop': loops.get(split) for split in ('train', 'val', 'test')},
    )


def test_agreement_passes():
    PanopticClassCheckHook().before_run(
        runner(Model(), train=Loop(dataset()), val=Loop(dataset()), test=dict(type='TestLoop'))
    )


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_counts_disagree(split):
    with pytest.raises(UserError) as error:
        PanopticClassCheckHook().before_run(runner(Model(80, 53), **{split: Loop(dataset())}))
    assert str(error.value) == (
        'The model has model.num_things_classes=80 and model.num_stuff_classes=53, but '
        f'{split}_dataloader.dataset (x.json) has 2 thing and 1 stuff classes: set the config '
        'variables num_things_classes=2 and num_stuff_classes=1, or give '
        f'{split}_dataloader.dataset.metainfo the classes of the model.'
    )


def test_the_same_total_is_not_enough():
    with pytest.raises(UserError, match='has 2 thing and 1 stuff'):
        PanopticClassCheckHook().before_run(runner(Model(1, 2), train=Loop(dataset())))


def test_data_sets_disagree():
    names = 'train_dataloader.dataset and val_dataloader.dataset have different classes'
    cases = (
        (dataset(('b', 'a')), "label 0 is the thing 'a' in one and the thing 'b' in the other"),
        (dataset(stuff=('c', 'd')), "label 3 is no class in one and the stuff class 'd' in the"),
        (dataset(('a', 'B ')), 'in one and .* in the other, which differ in case or spaces'),
        (dataset(('a',), ('b', 'c')), "the thing 'b' in one and the stuff class 'b' in the other"),
    )
    for val, words in cases:
        with pytest.raises(UserError, match=rf'{names} \(.*{words}'):
            PanopticClassCheckHook().before_run(
                runner(nn.Module(), train=Loop(dataset()), val=Loop(val))
            )


def heads(**values) -> nn.Module:
    """A model with parts by dotted name, which have attributes by name."""
    net = nn.Module()
    for path, attributes in values.items():
        part = net
        for name in path.split('__'):
            if name not in dict(part.named_children()):
                part.add_module(name, nn.Module())
            part = part.get_submodule(name)
        vars(part).update(attributes)
    return net


RIGHT = dict(num_things_classes=2, num_stuff_classes=1)
WRONG = dict(num_things_classes=2, num_stuff_classes=53)


@pytest.mark.parametrize(
    'net, words',
    [
        (heads(panoptic_head=RIGHT, panoptic_fusion_head=RIGHT), None),
        (heads(roi_head__bbox_head=dict(num_classes=2), rpn_head=dict(num_classes=1)), None),
        (heads(backbone=dict(num_classes=1000)), None),
        (
            heads(panoptic_head=RIGHT, panoptic_fusion_head=WRONG),
            'set model.panoptic_fusion_head.num_stuff_classes=1, or',
        ),
        (heads(semantic_head=WRONG), 'set model.semantic_head.num_stuff_classes=1, or'),
        (
            heads(panoptic_head=RIGHT, panoptic_head__loss_cls=dict(class_weight=[1.0] * 134)),
            'set len(model.panoptic_head.loss_cls.class_weight)=4, or',
        ),
        (
            heads(roi_head__bbox_head__0=dict(num_classes=80)),
            'set model.roi_head.bbox_head[0].num_classes=2, or',
        ),
        (heads(mask_head=dict(num_classes=3)), 'set model.mask_head.num_classes=2, or'),
        (
            heads(detector__bbox_head=dict(num_classes=80)),
            'set model.detector.bbox_head.num_classes=2, or',
        ),
    ],
)
def test_the_heads_of_mmdets_models(net, words):
    hook = PanopticClassCheckHook()
    if words is None:
        hook.before_run(runner(net, train=Loop(dataset())))
    else:
        with pytest.raises(UserError, match=re.escape(words)):
            hook.before_run(runner(net, train=Loop(dataset())))


def test_mmdets_mask2former(shapes_root):
    head = dict(num_things_classes=80, num_stuff_classes=53)
    config = Config.fromfile(str(ROOT / 'configs/peers/mask2former_r50_1xb8_shapes.py')).model
    config.backbone.init_cfg = None
    config.panoptic_head.update(head)
    config.panoptic_head.loss_cls.class_weight = [1.0] * 133 + [0.1]
    config.panoptic_fusion_head.update(num_things_classes=3, num_stuff_classes=2)
    with torch.device('meta'):
        net = MODELS.build(config)
    data = dataset(things=tuple('abc'), stuff=tuple('de'))
    with pytest.raises(UserError) as error:
        PanopticClassCheckHook().before_run(runner(net, train=Loop(data)))
    assert (
        'set model.panoptic_head.num_things_classes=3 and model.panoptic_head.num_stuff_classes=2 '
        'and len(model.panoptic_head.loss_cls.class_weight)=6, or' in str(error.value)
    )


def test_data_sets_of_boxes_and_wrappers():
    boxes = SimpleNamespace(metainfo=dict(classes=('a', 'b')))
    wrapped = SimpleNamespace(dataset=SimpleNamespace(datasets=[boxes, boxes]))
    net = heads(bbox_head=dict(num_classes=80))
    for data in (boxes, wrapped):
        with pytest.raises(UserError, match='model.bbox_head.num_classes=2'):
            PanopticClassCheckHook().before_run(runner(net, val=Loop(data)))
    for net in (nn.Module(), heads(bbox_head=dict(num_classes=2))):
        for data in (boxes, wrapped, [1, 2]):
            PanopticClassCheckHook().before_run(runner(net, val=Loop(data)))
