"""Model, data sets and checkpoints are compared before anything runs."""

from types import SimpleNamespace

import pytest
from cmt_deeplab.engine.hooks import (
    PanopticClassCheckHook,
    PanopticSizeCheckHook,
    model_class_counts,
)
from cmt_deeplab.errors import UserError
from mmdet.registry import HOOKS
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
    with pytest.raises(UserError) as error:
        PanopticClassCheckHook().before_run(runner(model(80, 53), **{split: Loop(dataset())}))
    assert str(error.value) == (
        'The model has num_things_classes=80 and num_stuff_classes=53, but '
        f'{split}_dataloader.dataset (x.json) has 2 thing and 1 stuff classes: set the config '
        'variables num_things_classes=2 and num_stuff_classes=1, or correct '
        f'{split}_dataloader.dataset.metainfo.'
    )


def test_the_same_total_is_not_enough():
    with pytest.raises(UserError, match='has 2 thing and 1 stuff'):
        PanopticClassCheckHook().before_run(runner(model(1, 2), train=Loop(dataset())))


def test_data_sets_disagree():
    names = 'train_dataloader.dataset and val_dataloader.dataset have different classes'
    cases = ((dataset(('b', 'a')), "'a' and 'b'"), (dataset(stuff=('c', 'd')), "None and 'd'"))
    for val, words in cases:
        with pytest.raises(UserError, match=rf'{names} \(first difference: {words}\)'):
            PanopticClassCheckHook().before_run(
                runner(nn.Module(), train=Loop(dataset()), val=Loop(val))
            )


def test_counts_of_mmdets_models_and_of_none():
    net = nn.Module()
    assert model_class_counts(net) is None
    net.panoptic_head = model(3, 4)
    assert model_class_counts(net) == (3, 4)
    PanopticClassCheckHook().before_run(runner(nn.Module(), train=Loop(dataset())))


def size_runner(size, **image_sizes):
    loops = {
        f'_{split}_loop': Loop(SimpleNamespace(image_size=value))
        for split, value in image_sizes.items()
    }
    preprocessor = SimpleNamespace(size=size)
    return SimpleNamespace(model=SimpleNamespace(data_preprocessor=preprocessor), **loops)


def test_images_larger_than_the_input_are_refused_at_the_start():
    hook = HOOKS.build(dict(type='PanopticSizeCheckHook'))
    assert isinstance(hook, PanopticSizeCheckHook)
    for size, sizes in (
        ((96, 96), dict(train=(96, 96), val=(64, 96))),
        (None, dict(train=(96, 96))),
        ((96, 96), dict(val=None)),
    ):
        hook.before_run(size_runner(size, **sizes))
    with pytest.raises(UserError, match=r'val_dataloader.dataset.image_size is \(128, 96\)'):
        hook.before_run(size_runner((96, 96), train=(96, 96), val=(128, 96)))
