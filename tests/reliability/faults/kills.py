"""Runs that are killed, at random points and at each change of a file, and resumed."""

import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from functools import partial

from trial.attempt import at_call, on_file_event
from trial.judge import Outcome
from trial.place import Place
from trial.situation import TRAIN, faults

from .short_runs import ITERATIONS, ShortRun

kind = faults(
    'Killed runs',
    'A run is killed (SIGKILL) and resumed with `--resume`. Nothing is lost where every checkpoint '
    'that was finished and not yet due to be removed is whole, where the resumed run goes on from '
    'the newest of them, and where all losses after it and the weights at the end are those of an '
    'unbroken run, bit for bit. The runs save a checkpoint in each iteration.',
)
KILLS, FEWER = 20, 8
EVENTS = 30  # changes of files before which a run is killed


def keep(number: int, best: bool = False) -> str:
    best_too = ", save_best='toy/mean', rule='greater'" if best else ''
    return f'default_hooks = dict(checkpoint=dict(max_keep_ckpts={number}{best_too}))\n'


WORKERS = """
train_dataloader = dict(num_workers=2, persistent_workers=True)
"""
# by name: what the config has, the processes, and the checkpoints that have to be left
SETTINGS = {
    'max_keep_ckpts=1': (keep(1), 1, 1),
    'max_keep_ckpts=3': (keep(3), 1, 3),
    'max_keep_ckpts=1 and save_best': (keep(1, best=True), 1, 1),
    'num_workers=2': (keep(3) + WORKERS, 1, 3),
    'two processes': (keep(1), 2, 1),
    'two processes with num_workers=2 and save_best': (keep(3, best=True) + WORKERS, 2, 3),
}
ALONE = list(SETTINGS)[:3]  # they write and remove in different ways


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_write(size: int) -> None:
    """The kernel kills this process as soon as a file grows beyond ``size`` bytes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def broken_off(run: ShortRun, work: str, first) -> Outcome | None:
    """What is left of a run in which ``first`` has killed rank 0; None where nothing did."""
    attempts = run.start(work, first=first)
    ended = attempts[0].wait()
    for attempt in attempts[1:]:
        attempt.send(signal.SIGKILL, group=True)
        attempt.wait()
    return None if ended.exit_code == 0 else run.after_break(work, ended.output)


for name, setting in SETTINGS.items():

    @kind(f'Killed at a random point, {name}', TRAIN)
    def at_random(place: Place, setting=setting) -> Iterator[Outcome]:
        text, processes, number = setting
        run = ShortRun(place, text, processes=processes, keep=number)
        moments = random.Random(11)
        for index in range(KILLS):
            attempts = run.start(f'work{index}')
            time.sleep(moments.uniform(0.2, 1) * run.seconds)
            for attempt in attempts:
                attempt.send(signal.SIGKILL, group=True)
            log = [attempt.wait() for attempt in attempts][0].output
            yield run.after_break(f'work{index}', log)

    @kind(f'Killed in the middle of writing a checkpoint, {name}', TRAIN)
    def in_write(place: Place, name=name, setting=setting) -> Iterator[Outcome]:
        from cmt_deeplab.engine.runner import PanopticRunner

        text, processes, number = setting
        run = ShortRun(place, text, processes=processes, keep=number)
        shares = random.Random(12)
        whole = (place.folder / f'unbroken/iter_{ITERATIONS}.pth').stat().st_size * 9 // 10
        log = max(path.stat().st_size for path in (place.folder / 'unbroken').glob('*/*.log'))
        for index in range(KILLS if name in ALONE else FEWER):
            call, size = 2 + index % (ITERATIONS - 1), shares.randrange(log, whole)
            writing = partial(die_in_write, size)
            first = partial(at_call, PanopticRunner, 'save_checkpoint', call, writing)
            outcome = broken_off(run, f'work{index}', first)
            yield outcome or Outcome('no end', 'the run was not killed')


for name in ALONE:

    @kind(f'Killed before each opening, renaming and removal of a checkpoint, {name}', TRAIN)
    def at_events(place: Place, name=name) -> Iterator[Outcome]:
        text, processes, number = SETTINGS[name]
        run = ShortRun(place, text, processes=processes, keep=number)
        for index in range(1, EVENTS + 1):
            outcome = broken_off(run, f'work{index}', partial(on_file_event, index, die))
            if outcome is None:
                return
            yield outcome
