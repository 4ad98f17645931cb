"""The sizes of model and data sets are compared before anything runs."""

from types import SimpleNamespace

import pytest
from cmt_deeplab.engine.hooks import PanopticSizeCheckHook
from cmt_deeplab.errors import UserError
from mmdet.registry import HOOKS
from mmengine.runner import BaseLoop


class Loop(BaseLoop):
    def __init__(self, dataset):
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self):
        raise AssertionError('not run here')


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
