"""A resumed run follows its own config as if from the start, and says what is other than before."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import Hook
from toy import ToyModel
from toy_run import toy_runner

WITHOUT_VALIDATION = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
POLY = dict(type='PolyLR', power=0.9, by_epoch=False)
BY_EPOCH = dict(
    train_cfg=dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2),
    train_dataloader__sampler=dict(type='DefaultSampler', shuffle=True),
    default_hooks__checkpoint=dict(by_epoch=True, interval=1),
    log_processor__by_epoch=True,
    param_scheduler=[
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
        dict(type='CosineAnnealingLR', eta_min=1e-5),
    ],
)
EMA = dict(custom_hooks=[dict(type='EMAHook', momentum=0.5)])


class Record(Hook):
    """The learning rates of each iteration, and the moments of each parameter at the start."""

    def __init__(self):
        self.rates = []

    def before_train(self, runner):
        names = {parameter: name for name, parameter in runner.model.named_parameters()}
        state = runner.optim_wrapper.optimizer.state
        self.moments = {names[key]: value['exp_avg'].clone() for key, value in state.items()}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.rates.append([group['lr'] for group in groups])


@MODELS.register_module()
class FrozenToyModel(ToyModel):
    def __init__(self):
        super().__init__()
        self.backbone.requires_grad_(False)


@MODELS.register_module()
class CountingToyModel(ToyModel):
    """It counts its draws as a detector with ``seed_per_image`` does."""

    _last_draw = (-1, 0)

    def forward(self, inputs, index, mode='tensor'):
        self._last_draw = (0, self._last_draw[1] + 1)
        return super().forward(inputs, index, mode)


def train(folder, start=None, **options):
    """The runner, its record and what it logged; resumed from the checkpoint ``start``, if any."""
    if start:
        options |= dict(resume=True, load_from=str(start))
    runner, record = toy_runner(folder, **WITHOUT_VALIDATION, **options), Record()
    runner.register_hook(record)
    runner.train()
    return runner, record, sorted(folder.glob('*/*.log'))[-1].read_text()


@pytest.fixture(scope='module', autouse=True)
def short_texts():
    """Without the text of the config in the logs, of which these tests say what is not in them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', property(lambda config: ''))
        yield


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """That of iteration 4 of 8."""
    folder = tmp_path_factory.mktemp('first')
    train(folder)
    return folder / 'iter_4.pth'


@pytest.mark.parametrize(
    'options, line',
    [
        (
            dict(optim_wrapper__optimizer__lr=0.02),
            'optim_wrapper.optimizer.lr: 0.02 now, 0.01 in the checkpoint',
        ),
        (
            dict(train_cfg__max_iters=12, param_scheduler=[POLY]),
            'train_cfg.max_iters: 12 now, 8 in the checkpoint',
        ),
        (
            dict(
                train_cfg__max_iters=12,
                param_scheduler=[dict(type='PanopticWarmupPolyLR', by_epoch=False, warmup=2)],
            ),
            'param_scheduler.0.type: PanopticWarmupPolyLR now, LinearLR in the checkpoint',
        ),
        (dict(param_scheduler=None), 'param_scheduler.1.type: not set now, PolyLR in'),
        (
            dict(  # three groups instead of two, in another order
                optim_wrapper__paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=2.0)}),
                optim_wrapper__optimizer__weight_decay=0.0,
            ),
            'optim_wrapper.optimizer.weight_decay: 0.0 now, 0.05 in the checkpoint',
        ),
    ],
)
def test_learning_rates_are_those_of_an_unbroken_run(tmp_path, checkpoint, options, line):
    whole = train(tmp_path / 'a', **options)[1]
    _, record, log = train(tmp_path / 'b', checkpoint, **options)
    assert record.rates == whole.rates[4:] and len(record.rates) >= 4
    assert f'{checkpoint} is of a run with other settings' in log and line in log
    assert 'start_factor' not in log  # of a schedule that is another one altogether
    content = torch.load(checkpoint, weights_only=True)
    names, states = content['settings']['parameters'], content['optimizer']['state']
    assert record.moments.keys() == set(names)
    for number, name in enumerate(names):
        assert torch.equal(record.moments[name], states[number]['exp_avg'])


def test_schedules_by_epoch_and_by_iteration_go_on_together(tmp_path):
    longer = dict(BY_EPOCH, train_cfg=dict(BY_EPOCH['train_cfg'], max_epochs=3))
    train(tmp_path / 'first', **BY_EPOCH)
    whole = train(tmp_path / 'whole', **longer)[1]
    _, record, log = train(tmp_path / 'more', tmp_path / 'first' / 'epoch_1.pth', **longer)
    assert len(record.rates) == 12 and record.rates == whole.rates[6:]
    assert 'train_cfg.max_epochs: 3 now, 2 in the checkpoint' in log


@pytest.mark.parametrize(
    'schedule',
    [
        dict(type='OneCycleLR', eta_max=0.1, total_steps=8, by_epoch=False),
        dict(type='LinearMomentum', by_epoch=False, end=6),
    ],
)
def test_a_resumed_run_with_the_same_config_says_nothing(tmp_path, schedule):
    whole = train(tmp_path / 'a', param_scheduler=[schedule])[1]
    path = tmp_path / 'a' / 'iter_4.pth'
    _, record, log = train(tmp_path / 'b', path, param_scheduler=[schedule], randomness__seed=None)
    assert record.rates == whole.rates[4:] and 'other settings' not in log


def test_what_else_differs_is_told(tmp_path, checkpoint):
    log = train(
        tmp_path,
        checkpoint,
        train_dataloader=dict(batch_size=3, num_workers=1, dataset=dict(length=9)),
        optim_wrapper=dict(type='PanopticAmpOptimWrapper', accumulative_counts=2),
        randomness__seed=7,
        default_hooks__logger__interval=2,
        custom_hooks=[dict(type='EMAHook')],
    )[2]
    for line in (
        'train_dataloader.batch_size: 3 now, 2 in',
        'the number of training images: 9 now, 12 in',
        'optim_wrapper.type: PanopticAmpOptimWrapper now, OptimWrapper in',
        'optim_wrapper.accumulative_counts: 2 now, not set in',
        'randomness.seed: 7 now, 1 in the checkpoint, which stays',
        'custom_hooks.0.type: EMAHook now, not set in',
    ):
        assert line in log
    told = log[log.index('other settings') :]
    assert not any(key in told for key in ('num_workers', 'custom_hooks:', 'hooks.logger'))


def test_a_schedule_that_follows_a_figure_goes_on_in_a_longer_run(tmp_path):
    plateau = dict(type='ReduceOnPlateauLR', monitor='toy/mean', patience=0, threshold=9.0)
    options = dict(BY_EPOCH, param_scheduler=[plateau], val_evaluator=dict(type='ToyMetric'))
    toy_runner(tmp_path, **options).train()
    longer = dict(BY_EPOCH['train_cfg'], max_epochs=3)
    start = dict(resume=True, load_from=str(tmp_path / 'epoch_2.pth'))
    runner = toy_runner(tmp_path / 'longer', **dict(options, train_cfg=longer), **start)
    runner.train()
    assert runner.epoch == 3 and runner.optim_wrapper.get_lr()['lr'][0] == pytest.approx(
        1e-3
    )  # not 1e-2


def test_a_checkpoint_of_a_former_version_tells_its_learning_rates(tmp_path, checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    del content['settings']
    for schedule in content['param_schedulers']:  # version 0.2.0 left out what does not change
        del schedule['begin']
    torch.save(content, tmp_path / 'old.pth')
    assert 'other settings' not in train(tmp_path / 'a', tmp_path / 'old.pth')[2]
    options = dict(optim_wrapper__optimizer__lr=0.02)
    _, record, log = train(tmp_path / 'b', tmp_path / 'old.pth', **options)
    assert 'lr of group 1 of the optimizer: 0.02 now, 0.01 in the checkpoint' in log
    assert record.rates == train(tmp_path / 'c', **options)[1].rates[4:]
    with pytest.raises(UserError, match='state of another optimizer.* is SGD.*load_from='):
        sgd = dict(_delete_=True, type='SGD', lr=0.1, weight_decay=0.1)
        train(tmp_path / 'd', tmp_path / 'old.pth', optim_wrapper__optimizer=sgd)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(optim_wrapper__optimizer__type='Adam'), 'state of AdamW, and .* is Adam'),
        (dict(optim_wrapper__optimizer__amsgrad=True), "'max_exp_avg_sq' of .* is missing"),
        (dict(model__width=16), r"'backbone.weight' has shape \(8, 4\)"),
        (dict(model=dict(type='FrozenToyModel')), "only its run trains 'backbone.bias'"),
        (BY_EPOCH, 'its run counted iterations and this one epochs: correct'),
    ],
)
def test_what_cannot_be_resumed_is_refused(tmp_path, checkpoint, options, words):
    with pytest.raises(UserError, match=f"{words}.*load_from='.*iter_4.pth'"):
        train(tmp_path, checkpoint, **options)


def test_weights_alone_are_not_resumed_but_loaded(tmp_path, checkpoint):
    torch.save(torch.load(checkpoint, weights_only=True)['state_dict'], tmp_path / 'weights.pth')
    with pytest.raises(UserError, match='no state of an optimizer.*or train on from its weights'):
        train(tmp_path / 'a', tmp_path / 'weights.pth', **EMA)
    train(tmp_path / 'b', load_from=str(tmp_path / 'weights.pth'), **EMA)


def test_without_the_average_of_before_the_run_is_one_without_it(tmp_path, checkpoint):
    train(tmp_path / 'averaged', **EMA)
    resumed = train(tmp_path / 'resumed', tmp_path / 'averaged' / 'iter_4.pth')[0]
    whole = torch.load(checkpoint.with_name('iter_8.pth'), weights_only=True)['state_dict']
    assert all(torch.equal(whole[key], value) for key, value in resumed.model.state_dict().items())


def test_the_best_figure_of_before_does_not_count_for_another(tmp_path):
    best = {'default_hooks__checkpoint': dict(save_best='toy/mean', rule='greater')}
    runner = toy_runner(tmp_path / 'a', **best)
    runner.message_hub.update_info('best_score', 100.0)
    runner.train()
    best = {'default_hooks__checkpoint': dict(save_best='toy/count', rule='greater')}
    options = dict(resume=True, load_from=str(tmp_path / 'a' / 'iter_6.pth'))
    toy_runner(tmp_path / 'b', **best, **options).train()
    assert [path.name for path in (tmp_path / 'b').glob('best*')] == ['best_toy_count_iter_8.pth']


def test_a_best_figure_that_the_metric_does_not_give(tmp_path):
    runner = toy_runner(tmp_path, default_hooks__checkpoint__save_best='toy/PQ')
    with pytest.raises(UserError, match="save_best .* names 'toy/PQ', .* use one of toy/count"):
        runner.train()


def test_a_run_at_its_end_has_nothing_left_to_train(tmp_path, checkpoint):
    log = train(tmp_path, checkpoint.with_name('iter_8.pth'))[2]
    assert 'Nothing is left to train' in log and 'train_cfg.max_iters=8' in log


def test_the_newest_checkpoint_has_to_exist(tmp_path):
    train(tmp_path, train_cfg__max_iters=2)
    (tmp_path / 'iter_2.pth').unlink()
    with pytest.raises(UserError, match='last_checkpoint names .*iter_2.pth, which does not exist'):
        train(tmp_path, resume=True)


def test_the_number_of_draws_is_resumed(tmp_path):
    options = dict(model=dict(type='CountingToyModel'))
    whole = train(tmp_path / 'a', **options)[0]
    resumed = train(tmp_path / 'b', tmp_path / 'a' / 'iter_4.pth', **options)[0]
    assert resumed.model._last_draw == whole.model._last_draw == (0, 8)


def test_resume_is_called_before_train(tmp_path, checkpoint):
    runner = toy_runner(tmp_path, optim_wrapper__optimizer__lr=0.02, **WITHOUT_VALIDATION)
    runner.resume(checkpoint)
    runner.train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert 'resumed epoch: 0, iter: 4' in log and 'optimizer.lr: 0.02 now' in log
