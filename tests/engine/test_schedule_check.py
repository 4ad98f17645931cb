"""Schedulers and hooks that would not act in the training loop are refused, or warned of."""

import re

import pytest
from cmt_deeplab.errors import UserError
from mmdet.registry import DATA_SAMPLERS, HOOKS
from mmengine.hooks import Hook
from torch.utils.data import Sampler
from toy_run import toy_runner

EARLY = dict(type='EarlyStoppingHook', monitor='coco_panoptic/PQ')
WITHOUT_VALIDATION = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
BY_EPOCH = dict(
    train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2),
    train_dataloader__sampler=dict(type='DefaultSampler', shuffle=True),
    default_hooks__checkpoint=dict(by_epoch=True, interval=1),
    log_processor__by_epoch=True,
)


@HOOKS.register_module()
class FreezeHook(Hook):
    """A user's own, which counts epochs under a name of its own."""

    def __init__(self, freeze_epochs: int, interval: object = None) -> None:
        self.freeze_epochs, self.interval = freeze_epochs, interval


def log_of(folder, **options) -> str:
    toy_runner(folder, **WITHOUT_VALIDATION, **options).train()
    return next(folder.glob('*/*.log')).read_text()


@pytest.mark.parametrize(
    'scheduler, words',
    [
        (dict(type='MultiStepLR', milestones=[8, 11]), 'MultiStepLR.* counts epochs'),
        (dict(type='CosineAnnealingLR', T_max=12, by_epoch=True), 'set by_epoch=False'),
        (
            dict(type='CosineAnnealingLR', T_max=1, convert_to_iter_based=True),
            'needs its end, in epochs',
        ),
        (dict(type='ConstantLR', by_epoch=False), 'PanopticWarmupPolyLR with ConstantLR'),
        (dict(type='ReduceOnPlateauLR', monitor='PQ'), 'ends of epochs alone.* another scheduler'),
    ],
)
def test_schedulers_that_never_step(tmp_path, scheduler, words):
    schedulers = [dict(type='LinearLR', by_epoch=False, end=2), scheduler]
    if 'Warmup' in words:
        schedulers[0] = dict(type='PanopticWarmupPolyLR', warmup=2, by_epoch=False)
    runner = toy_runner(tmp_path, param_scheduler=schedulers, **WITHOUT_VALIDATION)
    with pytest.raises(UserError, match=words):
        runner.train()


def test_a_scheduler_by_epoch_is_converted(tmp_path):
    """The data set of 12 images has 6 batches; one epoch of a sampler without an end is those."""
    scheduler = dict(
        type='MultiStepLR', milestones=[1], gamma=0.1, end=2, convert_to_iter_based=True
    )
    runner = toy_runner(tmp_path, param_scheduler=[scheduler], **WITHOUT_VALIDATION)
    rates = []
    after = type('After', (Hook,), {})()
    after.after_train_iter = lambda runner, **_: rates.append(
        runner.optim_wrapper.get_lr()['lr'][0]
    )
    runner.register_hook(after)
    runner.train()
    assert rates == pytest.approx([1e-2] * 6 + [1e-3] * 2)


@pytest.mark.parametrize(
    'hook, words',
    [
        (dict(type='CheckpointHook', by_epoch=True), r'by_epoch=True\).*set by_epoch=False'),
        (dict(type='EMAHook', begin_epoch=3), r'begin_epoch=3\).*give begin_iter instead'),
        (dict(type='PipelineSwitchHook', switch_epoch=2, switch_pipeline=[]), 'switch_epoch=2'),
        (dict(type='YOLOXModeSwitchHook'), 'num_last_epochs=15'),
        (dict(type='SetEpochInfoHook'), 'EpochBasedTrainLoop'),
        (dict(type='SyncBuffersHook'), 'SyncBuffersHook counts epochs'),
    ],
)
def test_hooks_that_count_epochs(tmp_path, hook, words):
    runner = toy_runner(tmp_path, custom_hooks=[hook])
    with pytest.raises(UserError, match=words):
        runner.train()


def test_what_a_hook_of_the_user_counts_is_not_known(tmp_path):
    log = log_of(tmp_path, custom_hooks=[dict(type='FreezeHook', freeze_epochs=1)])
    assert 'FreezeHook has freeze_epochs=1: if that counts epochs' in log


def test_whole_numbers_may_be_floats(tmp_path):
    checkpoint = dict(default_hooks__checkpoint__interval=4.0)
    toy_runner(tmp_path, train_cfg__val_interval=1e3, **checkpoint).train()
    assert (tmp_path / 'iter_4.pth').is_file()


def test_an_interval_of_validations(tmp_path):
    with pytest.raises(UserError, match='val_interval is 0, but must be .* val_dataloader'):
        toy_runner(tmp_path, train_cfg__val_interval=0).train()


def test_what_lies_beyond_the_end_is_told_and_runs(tmp_path):
    schedulers = [
        dict(type='MultiStepLR', milestones=[3, 80], by_epoch=False),
        dict(type='LinearLR', end=500, by_epoch=False),
        dict(type='CosineAnnealingLR', T_max=9, begin=9, end=18, by_epoch=False),
        dict(type='LinearMomentum', end=8, by_epoch=False),
    ]
    log = log_of(
        tmp_path / 'a',
        param_scheduler=schedulers,
        default_hooks__logger=dict(log_metric_by_epoch=True),
        log_processor__by_epoch=True,
    )
    for words in (
        'has milestones=[3, 80], beyond the end of training (8 iterations)',
        'has end=500, beyond',
        'has begin=9, beyond',
        'log_metric_by_epoch=False',
        'set log_processor.by_epoch=False',
    ):
        assert words in log
    log = log_of(
        tmp_path / 'b', param_scheduler=[dict(type='PanopticWarmupPolyLR', by_epoch=False)]
    )
    assert 'warmup=5000 lasts to the end' in log
    late = dict(val_begin=9, val_interval=10, dynamic_intervals=[(11, 1)])
    runner = toy_runner(tmp_path / 'c', train_cfg=late)
    runner.train()
    log = next((tmp_path / 'c').glob('*/*.log')).read_text()
    assert 'no validation runs' in log and 'val_interval=10 lies beyond' in log
    assert 'dynamic_intervals=11 lies beyond' in log


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(default_hooks__logger=dict(interval=9)), 'LoggerHook has interval=9, beyond the end'),
        (dict(custom_hooks=[dict(type='CheckInvalidLossHook', interval=9)]), 'LossHook has inter'),
        (dict(custom_hooks=[dict(EARLY, patience=3)]), 'patience=3, beyond .* .2 validations'),
        (dict(custom_hooks=[dict(EARLY, patience=2)]), ''),
        (dict(BY_EPOCH, custom_hooks=[dict(EARLY, patience=3)]), 'patience=3.* .2 validations'),
        (dict(custom_hooks=[dict(EARLY, patience=3)], train_cfg__dynamic_intervals=[(4, 1)]), ''),
        (dict(default_hooks__visualization=dict(type='DetVisualizationHook', interval=9)), ''),
        (dict(default_hooks__logger=dict(interval=8)), ''),
        (dict(default_hooks__checkpoint=dict(interval=9)), ''),
    ],
)
def test_what_a_hook_would_do_after_the_end_is_told(tmp_path, options, words):
    found = re.findall('The hook .* beyond the end of training .*', log_of(tmp_path, **options))
    assert len(found) == bool(words) and re.search(words, ''.join(found))


def test_a_loop_by_epoch(tmp_path):
    step = dict(type='MultiStepLR', milestones=[1, 5])
    log = log_of(tmp_path / 'a', **BY_EPOCH, param_scheduler=[step])
    assert 'has milestones=[1, 5], beyond the end of training (2 epochs)' in log
    log = log_of(
        tmp_path / 'b',
        **BY_EPOCH,
        param_scheduler=[step],
        resume=True,
        load_from=str(tmp_path / 'a' / 'epoch_1.pth'),
    )
    assert 'EpochBasedTrainLoop does not restore them; train_cfg=' in log


TWO_SETS = dict(
    train_dataloader__dataset=dict(_delete_=True, type='ToyConcatDataset'),
    train_dataloader__sampler=dict(
        _delete_=True, type='GroupMultiSourceSampler', batch_size=2, source_ratio=[1, 1]
    ),
)


@DATA_SAMPLERS.register_module()
class EndlessSampler(Sampler):
    def __init__(self, dataset, seed) -> None:
        self.dataset = dataset

    def __iter__(self):
        while True:
            yield from range(len(self.dataset))


@DATA_SAMPLERS.register_module()
class BoastfulSampler(EndlessSampler):
    """An endless one with a length."""

    def __len__(self) -> int:
        return len(self.dataset)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(train_dataloader__sampler=dict(type='InfiniteSampler')), 'InfiniteSampler never'),
        (
            dict(
                train_dataloader__sampler=dict(type='InfiniteSampler'),
                train_dataloader__batch_sampler=dict(type='AspectRatioBatchSampler'),
            ),
            'InfiniteSampler never ends the first epoch',
        ),
        (TWO_SETS, 'GroupMultiSourceSampler never'),
        (
            dict(train_dataloader__sampler=dict(_delete_=True, type='BoastfulSampler')),
            'BoastfulSampler never ends the first epoch',
        ),
        (
            dict(train_dataloader__sampler=dict(_delete_=True, type='EndlessSampler')),
            "lacks what loops of mmengine ask for .*'EndlessSampler'",
        ),
    ],
)
def test_an_epoch_without_an_end(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        toy_runner(tmp_path, **{**BY_EPOCH, **options}).train()


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(train_cfg__max_iters=0), 'train_cfg.max_iters is 0, but must be at least 1'),
        (dict(train_cfg__val_interval=2.5), 'val_interval is 2.5, but must be'),
        (dict(train_cfg__dynamic_intervals=[(4, 0)]), 'train_cfg.dynamic_intervals is 0'),
        (dict(default_hooks__checkpoint__interval=None), 'CheckpointHook has interval=None'),
        (dict(default_hooks__param_scheduler=None), 'no ParamSchedulerHook steps it'),
    ],
)
def test_settings_that_cannot_be(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        toy_runner(tmp_path, **options).train()


def test_settings_without_an_effect_are_told(tmp_path):
    schedulers = [
        dict(type='CosineAnnealingLR', eta_min=0.0, end=6, by_epoch=False),
        dict(type='LinearLR', end=4, by_epoch=False),
    ]
    log = log_of(
        tmp_path / 'a',
        param_scheduler=schedulers,
        custom_hooks=[dict(type='EarlyStoppingHook', monitor='coco_panoptic/PQ')],
        default_hooks__checkpoint=dict(interval=9, save_last=False),
    )
    assert 'CosineAnnealingLR) reaches 0 at its end=6' in log and 'LinearLR) reaches' not in log
    assert 'EarlyStoppingHook follows coco_panoptic/PQ, but there is no validation' in log
    assert 'a training of 8 saves no checkpoint' in log
    log = log_of(
        tmp_path / 'b',
        **BY_EPOCH,
        param_scheduler=[dict(type='MultiStepLR', milestones=[1, 2], by_epoch=False)],
    )
    assert 'milestones=[1, 2] counts iterations' in log


def test_a_checkpoint_within_an_epoch_repeats_iterations_and_says_so(tmp_path):
    options = dict(BY_EPOCH, default_hooks__checkpoint=dict(by_epoch=False, interval=4))
    log_of(tmp_path / 'a', **options, param_scheduler=None)
    log = log_of(
        tmp_path / 'b',
        **options,
        param_scheduler=None,
        resume=True,
        load_from=str(tmp_path / 'a' / 'iter_4.pth'),
    )
    assert 'repeats the 4 iterations since the last epoch ended' in log
