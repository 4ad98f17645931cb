"""Runs the situations against one checkout, in forks of a process that has imported it once.

    python trial/worker.py CHECKOUT SCRATCH [--rows PATTERN] [--jobs N] [--short] [--part P]

It is a program, so that ``PYTHONPATH`` decides which checkout's package is imported.
``SCRATCH/data`` has the generated scenes; the outcomes are written to ``SCRATCH/outcomes.json``.
"""

import argparse
import contextlib
import gc
import json
import os
import re
import resource
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from forks import in_forks, start

LONGEST = 120  # seconds of processor time of one situation
PATIENCE = 5  # times as long by the clock, on a busy machine
TRAINING = dict(iterations=120, batch=4)  # of the weights that situations test


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('checkout', type=Path)
    parser.add_argument('scratch', type=Path)
    parser.add_argument('--rows', default='')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--short', action='store_true')
    parser.add_argument('--part', type=int)
    args = parser.parse_args()
    prepare()
    import faults  # noqa: F401  registers its situations
    import situations  # noqa: F401

    from trial.situation import SITUATIONS

    chosen = [
        situation
        for situation in SITUATIONS
        if re.search(args.rows, situation.key)
        and (situation.cheap or not args.short)
        and args.part in (None, situation.part)
    ]
    if not args.short:
        train_once(args.checkout, args.scratch)
    file = args.scratch / 'outcomes.json'
    found = json.loads(file.read_text()) if file.is_file() else {}
    for key, outcome in run(chosen, args):
        found[key] = dict(key=key, outcome=outcome.kind, text=outcome.text)
        file.write_text(json.dumps(found, indent=1))


def run(chosen: Sequence, args: argparse.Namespace) -> Iterator[tuple]:
    """The key of each situation with its outcome, as they end."""
    from trial.judge import Outcome

    def work(sender, situation) -> None:
        situate(sender, args.checkout, args.scratch, situation)

    stopped = Outcome('no end', f'stopped after {LONGEST} seconds of processor time')
    ended = in_forks(work, chosen, jobs=args.jobs, longest=PATIENCE * LONGEST)
    for situation, outcome, code, seconds in ended:
        if outcome is None:
            died = code not in (None, -signal.SIGXCPU)
            outcome = Outcome('trace', f'the process died ({code})') if died else stopped
        yield situation.key, outcome
        print(f'{outcome.kind:15}{seconds:5.1f} s  {situation.key}: {outcome.text}', flush=True)


def prepare() -> None:
    """Import all that situations need, look at the machine once, and count the training steps."""
    import cmt_deeplab.engine.runner_setup  # noqa: F401
    import matplotlib.backends.backend_agg  # noqa: F401
    import mmdet.apis  # noqa: F401
    import pycocotools.mask  # noqa: F401
    import torch
    import torch._dynamo  # noqa: F401
    import torch.distributed.elastic.multiprocessing.errors  # noqa: F401
    import torchvision  # noqa: F401  mmengine imports it for the first lines of the log
    from mmengine.model import BaseModel
    from mmengine.runner import runner
    from yapf.yapflib import yapf_api

    from trial.place import Place

    torch.set_num_threads(1)
    # The layout of the config in the log takes most of the time of a short run.
    yapf_api.FormatCode = lambda text, **_: (text, True)
    machine = runner.collect_env()  # starts programs
    runner.collect_env = machine.copy
    step = BaseModel.train_step

    def train_step(self, *args, **kwargs):
        Place.steps += 1
        return step(self, *args, **kwargs)

    BaseModel.train_step = train_step
    gc.collect()
    gc.freeze()  # mmengine collects garbage for each data set: the forks need not look at all this


def train_once(checkout: Path, scratch: Path) -> None:
    """``trained.pth`` and its figures: a small model that knows a few scenes."""
    if (scratch / 'trained.json').is_file():
        return
    _, process = start(train_in_fork, checkout, scratch)
    process.join()
    if not (scratch / 'trained.json').is_file():
        raise RuntimeError(f'The model could not be trained: see {scratch}/training/stderr.txt')


def train_in_fork(sender, checkout: Path, scratch: Path) -> None:
    from trial.place import Place

    folder = enter(scratch / 'training', scratch / 'data')
    text = """
train_dataloader = dict(dataset=dict(
    ann_file='annotations/panoptic_val2017.json',
    data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/')))
optim_wrapper = dict(optimizer=dict(lr=5e-3))
"""
    with captured(folder):
        figures = Place(checkout, folder, folder, {}).train(text, **TRAINING)
    shutil.copy(folder / f'work/iter_{TRAINING["iterations"]}.pth', scratch / 'trained.pth')
    (scratch / 'trained.json').write_text(json.dumps(figures))


def enter(folder: Path, data: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(data, folder / 'data')
    os.chdir(folder)
    return folder


@contextlib.contextmanager
def captured(folder: Path):
    """All that this process and its children write goes into two files."""
    streams = [(folder / name).open('w') for name in ('stdout.txt', 'stderr.txt')]
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
    warnings.simplefilter('ignore')
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def situate(sender, checkout: Path, scratch: Path, situation) -> None:
    """One situation, in this fork."""
    from trial.judge import GOOD, Ended, judge, together
    from trial.place import Place

    resource.setrlimit(resource.RLIMIT_CPU, (LONGEST, 2 * LONGEST))
    folder = enter(
        scratch / 'situations' / re.sub(r'\W+', '_', situation.key)[:150], scratch / 'data'
    )
    figures, weights = scratch / 'trained.json', scratch / 'trained.pth'
    known = json.loads(figures.read_text()) if figures.is_file() else {}
    ended, outcomes = Ended(), []
    with captured(folder):
        try:
            ended.found = situation.act(Place(checkout, folder, weights, known))
            if isinstance(ended.found, Iterator):
                outcomes = list(ended.found)
        except SystemExit as end:
            ended.exit_code = end.code
        except BaseException as error:  # noqa: B036  what a user would see
            traceback.print_exc()
            ended.error = error
        ended.steps = Place.steps

    def without_places(text: str) -> str:
        for place in (folder, checkout, scratch):
            text = text.replace(f'{place}/', '').replace(str(place), '.')
        return text

    ended.output, ended.errors = (
        without_places((folder / f'{stream}.txt').read_text(errors='replace'))
        for stream in ('stdout', 'stderr')
    )
    outcome = together(outcomes) if outcomes else judge(situation, ended)
    outcome.text = without_places(outcome.text)
    if outcome.kind in GOOD:
        shutil.rmtree(folder)
    sender.send(outcome)
    sender.close()


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
