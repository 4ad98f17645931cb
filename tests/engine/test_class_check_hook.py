"""Class counts of model and data sets are compared before anything runs."""

from types import SimpleNamespace

import pytest
from cmt_deeplab.engine.class_check_hook import (
    PanopticClassCheckHook,
    check_class_counts,
    model_class_counts,
)
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


def model(things=2, stuff=1):
    module = nn.Module()
    module.num_things_classes, module.num_stuff_classes = things, stuff
    return module


def runner(net, **loops):
    return SimpleNamespace(
        model=net,
        logger=MMLogger.get_instance('class_check'),
        **{f'_{split}_loop': loops.get(split) for split in ('train', 'val', 'test')},
    )


def test_agreement_passes():
    PanopticClassCheckHook().before_run(
        runner(model(), train=Loop(dataset()), val=Loop(dataset()), test=dict(type='TestLoop'))
    )


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_counts_disagree(split):
    with pytest.raises(ValueError) as error:
        PanopticClassCheckHook().before_run(runner(model(80, 53), **{split: Loop(dataset())}))
    assert str(error.value) == (
        f'The model has num_things_classes=80 and num_stuff_classes=53, but {split}_dataloader.dataset (x.json) has 2 thing and 1 stuff '
        'classes: set the config variables num_things_classes=2 and num_stuff_classes=1, or correct '
        f'{split}_dataloader.dataset.metainfo.'
    )


def test_same_total_is_not_enough():
    with pytest.raises(ValueError, match='has 2 thing and 1 stuff'):
        check_class_counts((1, 2), dataset(), 'train_dataloader')


def test_data_sets_disagree():
    with pytest.raises(
        ValueError,
        match="train_dataloader.dataset and val_dataloader.dataset have different classes .*'a' and 'b'",
    ):
        PanopticClassCheckHook().before_run(
            runner(model(), train=Loop(dataset()), val=Loop(dataset(('b', 'a'))))
        )


def test_counts_of_mmdets_models_and_of_none():
    net = nn.Module()
    assert model_class_counts(net) is None
    net.panoptic_head = model(3, 4)
    assert model_class_counts(net) == (3, 4)
    PanopticClassCheckHook().before_run(runner(nn.Module(), train=Loop(dataset())))
