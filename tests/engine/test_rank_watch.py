"""Processes that train together stop together, and none goes on or waits alone."""

import json
import os
import re
import select
import signal
import socket
import threading
import time

import pytest
import torch
from cmt_deeplab.engine.distributed import ends_together
from cmt_deeplab.engine.stopping import rank_watch
from cmt_deeplab.errors import UserError
from forks import start
from mmengine.hooks import Hook
from toy_run import toy_runner


class Act(Hook):
    """Does something before the nth iteration, or for 0 after the last one."""

    priority = 'LOWEST'

    def __init__(self, nth: int, work) -> None:
        self.nth, self.work = nth, work

    def before_train_iter(self, runner, **_) -> None:
        if runner.iter + 1 == self.nth:
            self.work()

    def after_train(self, runner) -> None:
        if self.nth == 0:
            self.work()


def hang() -> None:
    threading.Event().wait()


def hang_and_judge_late() -> None:
    """The watch of this process finds the reason twenty ticks after the other one has ended."""
    judge = rank_watch.RankWatch._judge

    def late(watch, found) -> None:
        if watch._former:
            time.sleep(1)
        judge(watch, found)

    rank_watch.RankWatch._judge = late
    hang()


def fail() -> None:
    raise UserError('This process has a mistake: mend it.')


class SlowFault(RuntimeError):
    """Takes twenty ticks to say what it is, in which the other process ends."""

    def __str__(self) -> str:
        threading.Event().wait(1)
        return 'the code has a fault'


def fault() -> None:
    raise SlowFault


def signals(name: str, pid=os.getpid):
    return lambda: os.kill(pid(), getattr(signal, name))


def one_rank(sender, rank: int, port: int, folder, work, nth: int, options: dict) -> None:
    """A process of two; the second one does ``work`` before the nth iteration."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_PORT=str(port))
    os.environ['MASTER_ADDR'] = '127.0.0.1'
    rank_watch.TICK = 0.05
    torch.set_num_threads(1)
    with ends_together():
        runner = toy_runner(
            folder,
            launcher='pytorch',
            model__norm='LayerNorm',
            **{'env_cfg__dist_cfg__timeout': 10, **options},  # ticks
        )
        if rank == 1:
            runner.register_hook(Act(nth, work))
        runner.train()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def statuses(folder, work, *, nth: int = 4, **options) -> list[int]:
    """The exit statuses of two processes; one that is stopped is killed when the other ends."""
    port = free_port()
    ranks = [start(one_rank, r, port, folder, work, nth, options)[1] for r in range(2)]
    ranks[0].join()
    if work is stop:
        ranks[1].kill()
    ranks[1].join()
    return [each.exitcode for each in ranks]


stop = signals('SIGSTOP')


def test_a_signal_to_one_process_stops_all_after_the_same_iteration(tmp_path, capfd):
    assert statuses(tmp_path, signals('SIGTERM')) == [143, 143]
    written = capfd.readouterr()
    path = tmp_path / 'iter_5.pth'
    assert f'Stopped by SIGTERM after iteration 5: the checkpoint is {path};' in written.out
    assert written.out.count('Stopped by') == 1 and 'Traceback' not in written.err
    assert len(torch.load(path, weights_only=False)['train_loop']) > 0


def test_processes_that_accumulate_may_be_further_apart(tmp_path, capfd):
    """They meet every third iteration alone."""
    options = dict(optim_wrapper__accumulative_counts=3)
    assert statuses(tmp_path, signals('SIGTERM'), **options) == [143, 143]
    assert 'Stopped by SIGTERM after iteration 7: ' in capfd.readouterr().out


def test_a_signal_to_one_process_before_the_first_iteration(tmp_path, capfd):
    assert statuses(tmp_path, signals('SIGTERM'), nth=1) == [143, 143]
    written = capfd.readouterr()
    assert (written.out + written.err).count('Stopped by SIGTERM') == 1


@pytest.mark.parametrize(
    'work, nth, sentence',
    [
        (hang, 4, r'Rank 1 \(.*\) of 2 has stood still for \d+ s, reading .* iteration 4 \(test_'),
        (hang_and_judge_late, 4, r'Rank 1 \(.*\) of 2 has (stood still|not answered) for '),
        (stop, 4, r'Rank 1 \(.*\) of 2 has not answered for \d+ s, last'),
        (fail, 4, 'This process has a mistake: mend it.'),
        (fail, 0, 'This process has a mistake: mend it.'),
        (signals('SIGKILL'), 4, 'Another process of this run has ended without a word'),
    ],
    ids=['hangs', 'hangs, and judges late', 'stopped', 'fails', 'fails at the end', 'killed'],
)
def test_the_process_that_keeps_the_others_from_training_is_named(
    tmp_path, capfd, work, nth, sentence
):
    first, second = statuses(tmp_path, work, nth=nth)
    assert first == 1 and second in (1, -signal.SIGKILL)
    written = capfd.readouterr().err
    assert re.search(f'Error: {sentence}', written), written
    assert written.count('Error: ') == 1 and 'Traceback' not in written


def test_a_fault_of_the_code_is_shown_once(tmp_path, capfd):
    assert statuses(tmp_path, fault, env_cfg__dist_cfg__timeout=200) == [1, 1]
    written = capfd.readouterr().err
    assert written.count('SlowFault: the code has a fault') == 1
    assert written.count('Traceback (most recent call last)') == 1


def _launcher(sender, folder) -> None:
    """Starts two processes, the second of which kills this one."""
    port = free_port()
    work, options = signals('SIGKILL', os.getppid), dict(train_cfg__max_iters=10**6)
    for rank in range(2):
        start(one_rank, rank, port, folder, work, 4, options)
    hang()


def test_processes_end_with_their_launcher(tmp_path, capfd):
    reader, writer = os.pipe()  # each process holds the writing end until it has ended
    _, launcher = start(_launcher, tmp_path)
    os.close(writer)
    launcher.join()
    assert select.select([reader], [], [], 60)[0], 'processes are left'
    assert os.read(reader, 1) == b''
    os.close(reader)
    assert 'Error: The launcher of this run has ended' in capfd.readouterr().err


def test_a_timeout_is_a_number_of_seconds():
    for timeout in (0, -5.0):
        with pytest.raises(UserError, match='env_cfg.dist_cfg.timeout is'):
            rank_watch.longest_wait(timeout)
    for timeout in (1e15, float('inf')):
        assert rank_watch.longest_wait(timeout).total_seconds() == rank_watch.LONGEST


def test_a_slow_process_is_given_its_usual_time():
    """Reports of all processes are judged without a process group."""
    watch = object.__new__(rank_watch.RankWatch)
    vars(watch).update(_ranks=range(2), timeout=10, _longest={'running': 30}, _rank=0)
    ended = []
    watch._ends_first = lambda status: ended.append(status)
    report = dict(doing='running', of='', line='', host='here', slow=False, beats=1)

    def judged(*idle: int, places=((5, 1), (5, 1)), **changes) -> bool:
        ended.clear()
        watch._former = [dict(report, beats=0)] * 2
        watch._idle = idle[0]
        found = [
            dict(report, idle=i, place=list(place), **changes) for i, place in zip(idle, places)
        ]
        for each in found:
            each['beats'] -= each['place'] == rank_watch.DONE
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rank_watch, 'end_process', lambda *_: None)
            watch._judge(json.loads(json.dumps(found)))
        return bool(ended)

    assert not judged(60, 60) and judged(61, 61)  # twice the longest so far
    assert not judged(61, 20)  # the other one got on
    assert not judged(100, 100, slow=True) and judged(361, 361, slow=True)
    assert not judged(200, 20, places=((6, 1), (5, 1)))  # the one that is behind does get on
    assert not judged(200, 9, places=((6, 1), rank_watch.DONE), slow=True)  # it has ended
