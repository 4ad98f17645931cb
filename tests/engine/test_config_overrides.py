"""Mistakes after --cfg-options are reported before anything is built."""

import argparse
from copy import deepcopy

import pytest
from cmt_deeplab.analysis.config_model import load_config as read
from cmt_deeplab.engine.config_overrides import check_overrides, merge_overrides
from cmt_deeplab.engine.runner_setup import load_config
from cmt_deeplab.errors import UserError, user_sentence
from cmt_deeplab_cli.arguments import add_config_options
from command_line import ROOT
from mmengine.config import Config

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
        ({'train_dataloader.dataset.image_size': 96}, 'list (96, 96)'),
        ({'model.backbone': 5}, 'where the config has the dict'),
        ({'train_dataloader.pipeline.0.size': 'big'}, 'pipeline.0.size=big'),
        ({'optim_wrapper.lr': 'fast'}, 'number 0.1'),
        ({'data_root': 'elsewhere/'}, 'changes nothing.*set train_dataloader.dataset.data_root'),
        ({'num_classes': 4}, 'set model.num_classes'),
        ({'modell.backbone.depth': 4}, 'nothing reads.*is model meant'),
        ({'foo': 4}, 'changes nothing'),
        ({'custom_imports.imports': ['x']}, 'while the config file is read'),
    ],
)
def test_overrides_that_do_not_suit(options, words):
    with pytest.raises(ValueError) as caught:
        check_overrides(CONFIG, options)
    sentence = user_sentence(caught.value)
    assert '\n' not in sentence and next(iter(options)) in sentence
    assert all(part in sentence for part in words.split('.*'))


@pytest.mark.parametrize(
    'key, words',
    [
        ('train_dataloader.pipeline.7.size', 'train_dataloader.pipeline is a list of 1 entries'),
        ('train_dataloader.dataset.image_size.0', r'image_size is \(96, 96\)'),
        ('model.backbone.depth.first', 'model.backbone.depth is 18'),
        ('model.backbone.init_cfg.type', 'model.backbone.init_cfg is None'),
    ],
)
def test_overrides_below_something_that_is_no_dict(key, words):
    with pytest.raises(UserError, match=f'--cfg-options {key} does not suit the config.*{words}'):
        merge_overrides(deepcopy(CONFIG), {key: 4})


@pytest.mark.parametrize(
    'text, words',
    [
        ('model.width', 'model.width is not of the form key=value'),
        ('=3', 'not of the form'),
        ('model.=3', 'not of the form'),
        ('model.sizes=[1,2', 'bracket that is not closed'),
        ('work_dir="my runs"', 'has blanks, which mmengine leaves out'),
        ('custom_hooks=[dict(type=EMAHook)]', 'gives a dict'),
    ],
)
def test_what_is_no_override(text, words, capsys):
    parser = argparse.ArgumentParser()
    add_config_options(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', text])
    assert words in capsys.readouterr().err


def test_every_tool_compares_overrides_with_the_config():
    shapes = ROOT / 'configs' / 'cmt_deeplab' / 'cmt-deeplab_tiny_shapes.py'
    with pytest.raises(UserError, match='num_things_classes changes nothing.*set model.num_things'):
        read(str(shapes), {'num_things_classes': 3})


def test_overrides_are_merged():
    config = deepcopy(CONFIG)
    merge_overrides(config, {'train_dataloader.pipeline.0.size': 8, 'model.backbone.width': 2})
    assert config.train_dataloader.pipeline[0].size == 8 and config.model.backbone.width == 2


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


@pytest.mark.parametrize(
    'line',
    [
        "_base_ = '{configs}/_base_/schedules/adamw_200k.py'",
        "_base_ = '{configs}/_base_/models/cmt-deeplab_r50.py'\n"
        'first = _base_.model.criterion.losses[0]',
        "_base_ = '{configs}/_base_/schedules/adamw_150k.py'\nend = _base_.max_iters",
    ],
    ids=['a base that is gone', 'losses by position', 'a variable that is gone'],
)
def test_a_config_that_does_not_load_is_told_why(tmp_path, line):
    path = tmp_path / 'old.py'
    path.write_text(line.format(configs=ROOT / 'configs'))
    options = dict(config=str(path), launcher='none', cfg_options={}, work_dir=None)
    for load in (lambda: load_config(argparse.Namespace(**options)), lambda: read(str(path))):
        with pytest.raises(UserError, match=r'old\.py cannot be loaded .*[:;] correct (_base_|it)'):
            load()
