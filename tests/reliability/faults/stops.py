"""Runs that a scheduler, a user or another process stops."""

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from processes import free_port
from trial.attempt import Attempt, at_call, on_file_event
from trial.judge import Ended, Outcome, last_line, one_line, sentence
from trial.place import Place
from trial.situation import TRAIN, faults

from .kills import WORKERS
from .short_runs import ShortRun, numbers

kind = faults(
    'Signals, and processes that fail',
    'SIGTERM and SIGINT save a checkpoint after the iteration that is running and end with the '
    'exit code that a shell gives to the signal. Nothing is lost where a resumed run goes on from '
    'there as if nothing had happened.',
)
SELDOM = 'default_hooks = dict(checkpoint=dict(interval=100))\n'
SIGNALS = {'SIGTERM': signal.SIGTERM, 'SIGINT': signal.SIGINT}


def signal_self(number: int, send: Callable = os.kill) -> None:
    send(os.getpid(), number)


def kill_child() -> None:
    os.kill(children(os.getpid())[0], signal.SIGKILL)


def loop() -> type:
    from cmt_deeplab.engine.loop.train_loop import PanopticIterBasedTrainLoop

    return PanopticIterBasedTrainLoop


def in_iteration(number: int, send: Callable) -> None:
    at_call(loop(), 'run_iter', number, send)


def in_validation(number: int, send: Callable) -> None:
    import toy

    at_call(toy.ToyMetric, 'process', number, send)


def before(number: int, send: Callable) -> None:
    import toy

    places = (toy.ToyDataset, '__init__'), (toy.ToyModel, '__init__'), (loop(), 'run')
    at_call(*places[number % len(places)], 1, send)


def in_write(number: int, send: Callable) -> None:
    on_file_event(number, lambda path: send())


# by name: where the signal comes, and which checkpoint there has to be at least
MOMENTS = {
    'before the first iteration': (before, range(3), lambda number: 0),
    'in an iteration': (in_iteration, range(2, 7), lambda number: number),
    'in validation': (in_validation, range(1, 4), lambda number: 3),
    'while a checkpoint is written': (in_write, range(1, 6), lambda number: number // 8),
}


def after_stop(run: ShortRun, work: str, ended: Ended, number: int, least: int) -> Outcome:
    """What came of a run that the signal ``number`` should end with checkpoint ``least``."""
    if ended.exit_code is None:
        return Outcome('no end', 'the run had to be killed')
    if 'Traceback (most recent call last)' in ended.errors:
        return Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
    newest = max(numbers(run.place.folder / work, 'iter_*.pth'), default=0)
    if newest < least:
        return Outcome('lost', f'iteration {least} ran, and checkpoint {newest} is the newest')
    if ended.exit_code not in (128 + number, -number):  # a shell shows both as the first
        return Outcome('misleading', f'exit code {ended.exit_code}, where {128 + number} is right')
    outcome = run.goes_on(work, newest)
    said = re.findall(r'(?:Stopped by|Ended at once by) SIG.*', ended.output + ended.errors)
    if not said:
        return Outcome('misleading', 'ends without a sentence')
    return Outcome('told', said[-1]) if outcome.kind == 'right' else outcome


for name, number in SIGNALS.items():
    for moment, (arrange, points, least) in MOMENTS.items():

        @kind(f'{name} {moment}', TRAIN)
        def once(
            place: Place, number=number, arrange=arrange, points=points, least=least
        ) -> Iterator[Outcome]:
            every = arrange is in_write
            run = ShortRun(place, '' if every else SELDOM)
            for index in points:
                first = partial(arrange, index, partial(signal_self, number))
                ended = run.train(f'work{index}', first=first)
                yield after_stop(run, f'work{index}', ended, number, least(index))

    @kind(f'{name} twice in an iteration', TRAIN)
    def twice(place: Place, number=number) -> Iterator[Outcome]:
        run = ShortRun(place, SELDOM)

        def send() -> None:
            signal_self(number)
            signal_self(number)

        ended = run.train('work', first=partial(in_iteration, 3, send))
        yield after_stop(run, 'work', ended, number, 0)

    @kind(f'{name} to all processes of a run with num_workers=2', TRAIN)
    def to_group(place: Place, number=number) -> Iterator[Outcome]:
        run = ShortRun(place, SELDOM + WORKERS)
        for index in (2, 4):
            first = partial(in_iteration, index, partial(signal_self, number, os.killpg))
            ended = run.train(f'work{index}', first=first)
            yield after_stop(run, f'work{index}', ended, number, index)

    @kind(f'{name} to one of two processes', TRAIN)
    def to_one(place: Place, number=number) -> Iterator[Outcome]:
        run = ShortRun(place, SELDOM, processes=2)
        for index in (2, 5):
            first = partial(in_iteration, index, partial(signal_self, number))
            ended = run.train(f'work{index}', first=first)
            yield after_stop(run, f'work{index}', ended, number, index)


@kind('A data-loading process is killed', TRAIN, told='load|worker|memory')
def worker_killed(place: Place) -> Iterator[Outcome]:
    run = ShortRun(place, WORKERS)
    for index in range(2, 6):
        ended = run.train(f'work{index}', first=partial(in_iteration, index, kill_child))
        yield failed(run, f'work{index}', ended)


def failed(run: ShortRun, work: str, ended: Ended) -> Outcome:
    """What came of a run that has to end by itself with a sentence, and is resumed."""
    if ended.exit_code in (None, 0):
        return Outcome('no end' if ended.exit_code is None else 'silently wrong', 'goes on')
    if 'Traceback (most recent call last)' in ended.errors:
        return Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
    outcome = run.after_break(work, ended.output)
    return Outcome('told', one_line(sentence(ended))) if outcome.kind == 'right' else outcome


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that only waits to be asked for its status has."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
    except OSError:
        return True


LAUNCHER = 'tools/dist_train.sh'
LONG = 'train_cfg = dict(max_iters=1000000, val_interval=1000000)\n' + SELDOM
START, END = 90, 60  # seconds in which the processes have to begin and to end


def launched(place: Place, text: str = '') -> tuple[Attempt, list[int]]:
    """A run without an end in two processes by tools/dist_train.sh, and the processes."""
    run = ShortRun(place, text)
    run.config.write_text(run.config.read_text() + LONG)

    def act() -> None:
        program = str(place.checkout / LAUNCHER)
        os.environ.update(PORT=str(free_port()), PYTHON=sys.executable)
        os.execv(program, [program, str(run.config), '2', '--work-dir', 'work'])

    attempt, began = Attempt(act, 'launched'), time.monotonic()
    while 'Iter(train)' not in attempt.streams[0].read_text():
        if gone(attempt.pid) or time.monotonic() - began > START:
            all_gone(children(attempt.pid), patience=0)
            raise RuntimeError(attempt.wait(0).errors)
        time.sleep(0.1)
    return attempt, children(attempt.pid)


def all_gone(pids: list[int], patience: float = END) -> bool:
    """Whether all processes end in time; those that do not are killed."""
    began = time.monotonic()
    while not all(map(gone, pids)) and time.monotonic() - began < patience:
        time.sleep(0.1)
    left = [pid for pid in pids if not gone(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return not left


@kind('The number of processes is a command of the shell', LAUNCHER)
def shell(place: Place) -> Iterator[Outcome]:
    program, canary = str(place.checkout / LAUNCHER), place.folder / 'canary'
    for number in (f'UID[$(touch {canary})]', f'$(touch {canary})', f'2;touch {canary}', '-1', ''):
        environment = dict(os.environ, PYTHON=sys.executable)
        del environment['OMP_NUM_THREADS']  # otherwise nothing is computed with the number
        arguments = [program, 'config.py', number]
        ended = Attempt(partial(os.execve, program, arguments, environment), 'launched').wait()
        outcome = Outcome('told', one_line(sentence(ended)))
        if canary.exists():
            canary.unlink()
            outcome = Outcome('ran', number.partition(' ')[0])
        elif ended.exit_code == 0:
            outcome = Outcome('silently wrong', 'exit code 0')
        yield outcome


@kind('The launcher is killed (SIGKILL)', LAUNCHER)
def launcher_killed(place: Place) -> Iterator[Outcome]:
    attempt, pids = launched(place)
    attempt.send(signal.SIGKILL)
    ended = all_gone(pids)
    output = attempt.wait()
    said = sentence(output)
    yield Outcome('told', said) if ended else Outcome('lost', 'the processes train on')


for name, number in SIGNALS.items():

    @kind(f'{name} to the launcher', LAUNCHER)
    def launcher_stopped(place: Place, number=number) -> Iterator[Outcome]:
        attempt, pids = launched(place)
        attempt.send(number)
        if not all_gone(pids):
            yield Outcome('no end', 'the processes train on')
        ended = attempt.wait(START + END)
        saved = numbers(place.folder / 'work', 'iter_*.pth')
        text = f'exit code {ended.exit_code}: {one_line(sentence(ended))}'
        yield Outcome('told', text) if saved else Outcome('lost', f'no checkpoint; {text}')


@kind('One of two processes is killed (SIGKILL)', LAUNCHER)
def rank_killed(place: Place) -> Iterator[Outcome]:
    attempt, pids = launched(place)
    os.kill(pids[1], signal.SIGKILL)
    ended = all_gone(pids[:1])
    output = attempt.wait(START + END)
    said = one_line(sentence(output))
    if not (ended and output.exit_code):
        yield Outcome('no end', 'goes on')
    elif said.startswith('==='):
        yield Outcome('misleading', 'ends with a report of torchrun in many lines')
    else:
        yield Outcome('told', said)


@kind('One of two processes stands still', TRAIN)
def stalled(place: Place) -> Iterator[Outcome]:
    run = ShortRun(place, 'env_cfg = dict(dist_cfg=dict(timeout=10))\n', processes=2)
    attempts = run.start('work', first=partial(in_iteration, 3, partial(time.sleep, 1000)))
    other = attempts[1].wait(40)
    attempts[0].send(signal.SIGKILL, group=True)
    stalled = attempts[0].wait()
    outcome = failed(run, 'work', other)
    if outcome.kind == 'told' and 'stood still' in stalled.errors:  # the rank knows of itself
        outcome = Outcome('told', one_line(sentence(stalled)))
    yield outcome
