"""Mistakes after --cfg-options and in config files are said before anything is built, or in one sentence while it is."""

from types import SimpleNamespace

import pytest
from cmt_deeplab.engine.config_overrides import check_overrides
from cmt_deeplab.engine.size_check_hook import PanopticSizeCheckHook
from cmt_deeplab.errors import user_sentence
from mmdet.registry import HOOKS, MODELS
from mmengine.config import Config
from test_class_check_hook import Loop
from toy_run import toy_config

CONFIG = Config(
    dict(
        data_root='data/',
        num_classes=3,
        model=dict(type='X', num_classes=3, backbone=dict(depth=18, init_cfg=None)),
        load_from=None,
        train_dataloader=dict(
            batch_size=2,
            dataset=dict(data_root='data/', image_size=(96, 96)),
            pipeline=[dict(type='A', size=4)],
        ),
        optim_wrapper=dict(lr=0.1, loss_scale='dynamic'),
        resume=False,
    )
)


@pytest.mark.parametrize(
    'options, words',
    [
        ({'train_dataloader.batch_size': 'two'}, 'gives a word where the config has the number 2'),
        ({'train_dataloader.batch_size': True}, 'truth value'),
        ({'resume': 'yes'}, 'give a truth value'),
        ({'train_dataloader.dataset.image_size': 96}, 'sequence (96, 96)'),
        ({'model.backbone': 5}, 'where the config has the dict'),
        ({'train_dataloader.pipeline.0.size': 'big'}, 'pipeline.0.size=big'),
        ({'optim_wrapper.lr': 'fast'}, 'number 0.1'),
        ({'data_root': 'elsewhere/'}, 'changes nothing.*set train_dataloader.dataset.data_root'),
        ({'num_classes': 4}, 'set model.num_classes'),
    ],
)
def test_overrides_that_do_not_suit(options, words):
    with pytest.raises(ValueError) as caught:
        check_overrides(CONFIG, options)
    sentence = user_sentence(caught.value)
    assert '\n' not in sentence and next(iter(options)) in sentence
    assert all(part in sentence for part in words.split('.*'))


def test_overrides_that_suit():
    check_overrides(
        CONFIG,
        {
            'model.backbone.init_cfg': dict(type='Pretrained', checkpoint='x'),
            'optim_wrapper.loss_scale': 512,
            'optim_wrapper.dtype': 'float16',
            'optim_wrapper.clip_grad.max_norm': 1,
            'optim_wrapper.lr': 1,
            'train_dataloader': None,
            'randomness.seed': 3,
            'load_from': 'x.pth',
            'train_dataloader.dataset.image_size': [64, 64],
            'custom_hooks': [],
            'work_dir': 'x',
            'compile': True,
        },
    )


def test_a_type_or_an_argument_that_does_not_exist_is_one_sentence():
    cases = {
        'type NoSuchNetwork': dict(type='NoSuchNetwork'),
        "ResNet the key 'dept'": dict(type='PanopticResNet', depth=18, dept=3),
        'does not give PanopticResNet its': dict(type='PanopticResNet'),
        'one of 18': dict(type='PanopticResNet', depth=19),
    }
    for words, cfg in cases.items():
        with pytest.raises((KeyError, TypeError, ValueError)) as caught:
            MODELS.build(cfg)
        sentence = user_sentence(caught.value)
        assert sentence and words in sentence and '\n' not in sentence


def size_runner(size, **image_sizes):
    loops = {
        f'_{split}_loop': Loop(SimpleNamespace(image_size=value))
        for split, value in image_sizes.items()
    }
    return SimpleNamespace(
        model=SimpleNamespace(data_preprocessor=SimpleNamespace(size=size)), **loops
    )


def test_images_larger_than_the_input_are_refused_at_the_start():
    hook = HOOKS.build(dict(type='PanopticSizeCheckHook'))
    assert isinstance(hook, PanopticSizeCheckHook)
    for size, sizes in (
        ((96, 96), dict(train=(96, 96), val=(64, 96))),
        (None, dict(train=(96, 96))),
        ((96, 96), dict(val=None)),
    ):
        hook.before_run(size_runner(size, **sizes))
    with pytest.raises(ValueError, match=r'val_dataloader.dataset.image_size is \(128, 96\)'):
        hook.before_run(size_runner((96, 96), train=(96, 96), val=(128, 96)))


def test_the_default_runtime_checks_sizes():
    assert toy_config(None).default_hooks.size_check.type == 'PanopticSizeCheckHook'
