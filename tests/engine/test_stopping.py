"""Signals end training with a checkpoint; several processes end together."""

import os
import signal
import threading

import pytest
import torch
from cmt_deeplab.engine.stopping import stop_signals
from cmt_deeplab.errors import TrainingStopped, report_user_errors
from forks import start
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from toy_run import toy_runner


@HOOKS.register_module()
class SignalHook(Hook):
    """Sends signals to this process, or to its group, when a hook is called for the nth time."""

    priority = 'HIGHEST'  # before the checkpoint

    def __init__(self, *numbers: int, after: str, nth: int = 1, group: bool = False) -> None:
        self.numbers, self.left, self.group = numbers, nth, group
        setattr(self, after, self._send)

    def _send(self, *_, **__) -> None:
        self.left -= 1
        if self.left == 0:
            for number in self.numbers:
                (os.killpg if self.group else os.kill)(os.getpid(), number)


def stopped(work_dir, number: int, *, after: str = 'after_train_iter', nth: int = 1, **options):
    """The runner of a training that the signal ends, and what it says."""
    runner = toy_runner(work_dir, **options)
    said = []
    runner.logger.log = lambda level, text: said.append(text)
    runner.logger.warning = said.append
    runner.register_hook(SignalHook(number, after=after, nth=nth))
    before = signal.getsignal(number)
    with pytest.raises(TrainingStopped) as end:
        runner.train()
    assert end.value.code == 128 + number and signal.getsignal(number) == before
    return runner, said[-1]


def parameters(runner) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in runner.model.parameters()])


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGHUP'])
def test_a_signal_saves_a_checkpoint_from_which_training_goes_on(tmp_path, name):
    _, said = stopped(tmp_path, getattr(signal, name), nth=3)
    path = tmp_path / 'iter_3.pth'
    assert said == (
        f'Stopped by {name} after iteration 3: the checkpoint is {path}; go on with --resume.'
    )
    assert (tmp_path / 'last_checkpoint').read_text() == str(path)
    if name == 'SIGTERM':
        resumed = toy_runner(tmp_path, resume=True)
        resumed.train()
        unbroken = toy_runner(tmp_path / 'unbroken')
        unbroken.train()
        assert torch.equal(parameters(resumed), parameters(unbroken))


def test_a_checkpoint_of_the_same_iteration_is_not_written_again(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        'mmengine.runner.runner.save_checkpoint', lambda _, path, **__: saved.append(path)
    )
    stopped(tmp_path, signal.SIGTERM, nth=2)
    assert len(saved) == 1


def test_a_signal_in_a_validation_leaves_its_weights_out(tmp_path):
    """The EMA evaluates other weights than those that are trained."""
    ema = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.5)]
    options = dict(custom_hooks=ema, train_cfg__val_interval=3)
    runner, said = stopped(tmp_path, signal.SIGTERM, after='after_val_iter', nth=2, **options)
    assert 'after iteration 3: the checkpoint is' in said
    kept = torch.load(tmp_path / 'iter_3.pth', weights_only=False)
    unbroken = toy_runner(tmp_path / 'unbroken', **options)
    unbroken.train_loop._max_iters = 3
    unbroken.train()
    expected = torch.load(tmp_path / 'unbroken/iter_3.pth', weights_only=False)
    for name, value in expected['state_dict'].items():
        assert torch.equal(kept['state_dict'][name], value), name
        assert torch.equal(
            kept['ema_state_dict'][f'module.{name}'], expected['ema_state_dict'][f'module.{name}']
        )


def test_before_the_first_iteration_there_is_nothing_to_save(tmp_path):
    _, said = stopped(tmp_path, signal.SIGINT, after='before_train')
    assert said == 'Stopped by SIGINT before the first iteration.'
    assert not list(tmp_path.glob('*.pth'))
    _, said = stopped(tmp_path, signal.SIGINT, default_hooks__checkpoint__interval=1)
    assert f'Stopped by SIGINT after iteration 1: the checkpoint is {tmp_path}/iter_1.pth' in said


def test_after_the_last_iteration_the_checkpoint_is_to_be_evaluated(tmp_path):
    _, said = stopped(tmp_path, signal.SIGTERM, nth=8)
    path = tmp_path / 'iter_8.pth'
    assert said.endswith(f'iteration 8, the last one: evaluate {path} with tools/test.py.')


def test_a_loop_by_epoch_saves_within_one(tmp_path):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=2, _delete_=True)
    options = dict(
        train_cfg=loop,
        train_dataloader__sampler__type='DefaultSampler',
        default_hooks__checkpoint__by_epoch=True,
    )
    runner, said = stopped(tmp_path, signal.SIGTERM, nth=2, **options)
    meta = torch.load(tmp_path / 'iter_2.pth', weights_only=False)['meta']
    assert (meta['epoch'], meta['iter']) == (0, 2) and 'iter_2.pth; go on' in said


def test_without_a_checkpoint_hook_training_says_so(tmp_path):
    _, said = stopped(tmp_path, signal.SIGTERM, default_hooks__checkpoint=None)
    assert said.endswith('without a checkpoint, as the config has no CheckpointHook.')


def test_handlers_of_the_program_stay(tmp_path, monkeypatch):
    received = []
    before = signal.signal(signal.SIGUSR1, lambda *_: received.append('own'))
    try:
        runner = toy_runner(tmp_path)
        runner.register_hook(SignalHook(signal.SIGUSR1, after='after_train_iter'))
        runner.train()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert received == ['own'] and runner.iter == 8


def test_a_thread_trains_without_handling_signals(tmp_path, monkeypatch):
    # An error in the constructor of a logger leaves mmengine's lock taken by that thread.
    monkeypatch.setattr('mmengine.utils.manager._lock', threading.RLock())
    runner = toy_runner(tmp_path)
    thread = threading.Thread(target=runner.train)
    thread.start()
    thread.join()
    assert runner.iter == 8


def ended(work, *arguments) -> int:
    """The exit status of ``work(sender, *arguments)`` in a fork that leads a process group."""
    _, process = start(_in_a_group, work, *arguments)
    process.join()
    return process.exitcode


def _in_a_group(sender, work, *arguments) -> None:
    os.setsid()
    work(*arguments)


def _hang_after_two_signals(work_dir) -> None:
    stop_signals.SAME = 0.0
    runner = toy_runner(work_dir)
    hook = SignalHook(signal.SIGTERM, signal.SIGINT, after='after_train_iter', nth=3)
    runner.register_hook(hook)
    runner.register_hook(HangHook())
    runner.train()


class HangHook(Hook):
    """Waits for ever in iteration 3."""

    priority = 'LOWEST'

    def after_train_iter(self, runner, **_) -> None:
        if runner.iter == 2:
            threading.Event().wait()


def test_a_second_signal_ends_even_a_process_that_hangs(tmp_path):
    assert ended(_hang_after_two_signals, tmp_path) == 130
    assert [path.name for path in tmp_path.glob('iter_*')] == ['iter_2.pth']


def _signal_the_group(work_dir) -> None:
    runner = toy_runner(work_dir, train_dataloader__num_workers=2)
    runner.register_hook(SignalHook(signal.SIGTERM, after='after_train_iter', nth=3, group=True))
    runner.train()


def test_a_signal_to_the_group_does_not_end_the_loading_processes_first(tmp_path, capfd):
    assert ended(_signal_the_group, tmp_path) == 143
    assert (tmp_path / 'iter_3.pth').exists()
    assert 'Traceback' not in capfd.readouterr().err


def test_an_interrupted_tool_says_so(capsys):
    with pytest.raises(SystemExit) as end, report_user_errors():
        raise KeyboardInterrupt
    assert end.value.code == 130
    assert capsys.readouterr().err == 'Ended at once by SIGINT.\n'
