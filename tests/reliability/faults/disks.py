"""Disks that are full, folders that cannot be written or vanish, and files that would be lost."""

import errno
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from trial.attempt import Attempt, on_file_event, ranks
from trial.judge import Ended, Outcome, last_line, one_line, sentence
from trial.place import Place
from trial.situation import EVALUATE, TEST, TRAIN, Wrong, faults

from .kills import keep
from .short_runs import ITERATIONS, ShortRun, same_tensors, whole
from .stops import SELDOM, failed, in_iteration

kind = faults(
    'Disks and folders',
    'Where a file cannot be written, one sentence says which, and what was there before is '
    'still there, whole.',
)
ERRORS = {
    'The disk is full': errno.ENOSPC,
    'The work dir becomes read-only': errno.EROFS,
    'The disk fails': errno.EIO,
}


def refuse(error: int, path: str) -> None:
    raise OSError(error, os.strerror(error), path)


for name, error in ERRORS.items():

    @kind(f'{name} at an opening, renaming or removal of a checkpoint', TRAIN)
    def refused(place: Place, error=error) -> Iterator[Outcome]:
        run = ShortRun(place, keep(1), keep=1)
        for index in range(3, 12):
            first = partial(on_file_event, index, partial(refuse, error))
            yield ends_well(run, f'work{index}', first)


def ends_well(run: ShortRun, work: str, first: Callable) -> Outcome:
    """The run ends with a sentence, or trains to its end as if nothing had happened."""
    ended = run.train(work, first=first)
    if ended.exit_code == 0:
        same = same_tensors(run.of(work)[1], run.weights)
        return Outcome('right', '') if same else Outcome('lost', 'ends without its last checkpoint')
    return failed(run, work, ended)


@contextmanager
def limited(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def limit_write(number: int, size: int) -> None:
    """No file may grow beyond ``size`` bytes while checkpoint ``number`` is written."""
    from cmt_deeplab.engine.runner import PanopticRunner

    save, calls = PanopticRunner.save_checkpoint, 0

    def save_checkpoint(self, *args, **kwargs) -> None:
        nonlocal calls
        calls += 1
        if calls != number:
            return save(self, *args, **kwargs)
        with limited(size):
            return save(self, *args, **kwargs)

    PanopticRunner.save_checkpoint = save_checkpoint


@kind('The disk is full in the middle of writing a checkpoint', TRAIN)
def quota(place: Place) -> Iterator[Outcome]:
    run = ShortRun(place, keep(1), keep=1)
    size = (place.folder / f'unbroken/iter_{ITERATIONS}.pth').stat().st_size
    for number in range(2, ITERATIONS):
        first = partial(limit_write, number, size * 85 // 100)
        yield ends_well(run, f'work{number}', first)


@kind('The work dir is removed while training runs', TRAIN)
def vanished(place: Place) -> Iterator[Outcome]:
    run = ShortRun(place, keep(1), keep=0)
    for number in (2, 5):
        work = f'work{number}'
        first = partial(in_iteration, number, partial(shutil.rmtree, place.folder / work))
        ended = run.train(work, first=first)
        if ended.exit_code == 0 and same_tensors(run.of(work)[1], run.weights):
            yield Outcome('right', '')
        elif 'Traceback' in ended.errors:
            yield Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
        else:
            yield Outcome('told', one_line(sentence(ended)))


@kind('The work dir cannot be made', TRAIN, told='/proc/work')
def no_work_dir(place: Place) -> Wrong:
    run = ShortRun(place)
    place.tool('tools/train.py', run.config, '--work-dir', '/proc/work')
    return Wrong('trains to the end')


@kind('Two processes test a model, and the folder where they start cannot be written', TEST)
def start_folder(place: Place) -> Iterator[Outcome]:
    run = ShortRun(place)
    checkpoint = place.folder / f'unbroken/iter_{ITERATIONS}.pth'

    def act() -> None:
        os.chdir('/proc')
        work = place.folder / 'tested'
        options = ['--work-dir', work, '--launcher', 'pytorch']
        place.tool(TEST, run.config, checkpoint, *options)

    ended = [attempt.wait() for attempt in ranks(act, 'tested')][0]
    if ended.exit_code == 0 and 'toy/count: 5' in ended.output:
        yield Outcome('right', '')
    else:
        yield Outcome('lost', f'no figures: {last_line(ended.errors.strip().splitlines()[-1])}')


@kind('The file of --json cannot be written when all is computed', EVALUATE)
def figures(place: Place) -> Iterator[Outcome]:
    place.copy_truth()
    paths = [place.file('val'), place.pngs('val'), place.file('pred'), place.pngs('pred')]
    program, target = 'tools/analysis_tools/evaluate_panoptic.py', '/dev/full'
    ended = Attempt(lambda: place.tool(program, *paths, '--json', target), 'evaluated').wait()
    yield has_figures(ended, target)


def has_figures(ended: Ended, target: str) -> Outcome:
    if 'Traceback' in ended.errors:
        return Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
    if '100.0' not in ended.output:
        return Outcome('lost', 'the figures are not printed')
    if ended.exit_code == 0 or target not in sentence(ended):
        return Outcome('silently wrong', 'the file is empty, without a word')
    return Outcome('told', one_line(sentence(ended)))


removing = faults(
    'Files of others',
    'What a checkpoint or last_checkpoint says never removes a file, and a command does not write '
    'over what another one has made. All files that were there before are compared byte by byte.',
)


class Files:
    """The files below some folders; :meth:`after` says whether each is as it was."""

    def __init__(self, *folders: Path) -> None:
        self.before = {
            path: path.read_bytes()
            for folder in folders
            for path in folder.rglob('*')
            if path.is_file()
        }

    def after(self, good: Outcome) -> Outcome:
        for path, content in self.before.items():
            if not path.is_file():
                return Outcome('lost', f'{path.name} is removed')
            if path.read_bytes() != content:
                return Outcome('lost', f'{path.name} is written over')
        return good


def came(ended: Ended) -> Outcome:
    """Right where the run came to its end, told where it ended with a sentence."""
    if ended.exit_code == 0:
        return Outcome('right', '')
    if 'Traceback' in ended.errors:
        return Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
    return Outcome('told', one_line(sentence(ended)))


BEST = keep(1, best=True)


def resumed_with(place: Place, change: Callable[[dict, Path], None]) -> Iterator[Outcome]:
    """Resume from checkpoints whose ``runtime_info`` was changed, with save_best."""
    run = ShortRun(place, BEST)
    other = place.folder / 'other'
    for number, target in enumerate((other, other / 'iter_1.pth', Path('../other'))):
        other.mkdir(exist_ok=True)
        for name in ('iter_1.pth', 'best_toy_mean_iter_1.pth', 'notes.txt'):
            (other / name).write_text('of somebody else')
        files = Files(other, place.folder / 'data')
        start, work = place.folder / f'start{number}.pth', f'work{number}'
        ended = run.train(work, '--cfg-options', f'train_cfg.max_iters={ITERATIONS // 2}')
        checkpoint = whole(place.folder / work / f'iter_{ITERATIONS // 2}.pth')
        change(checkpoint['message_hub']['runtime_info'], target)
        torch.save(checkpoint, start)
        ended = run.train(work, '--resume', start)
        yield files.after(came(ended))


@removing('best_ckpt of the checkpoint names a folder or a file of somebody else', TRAIN)
def best_names(place: Place) -> Iterator[Outcome]:
    def change(info: dict, target: Path) -> None:
        info.update(best_ckpt=str(target), best_score=-1e9, **{'best_ckpt_toy/mean': str(target)})

    yield from resumed_with(place, change)


@removing('keep_ckpt_ids of the checkpoint name files of somebody else', TRAIN)
def kept_names(place: Place) -> Iterator[Outcome]:
    def change(info: dict, target: Path) -> None:
        info.update(keep_ckpt_ids=[f'/../{target}', f'../../{target}', '../other/iter_1'])

    yield from resumed_with(place, change)


@removing('A run with save_best is resumed honestly in another work dir', TRAIN)
def other_dir(place: Place) -> Iterator[Outcome]:
    run = ShortRun(place, BEST)
    run.train('first', '--cfg-options', f'train_cfg.max_iters={ITERATIONS // 2}')
    files = Files(place.folder / 'first')
    ended = run.train('second', '--resume', place.folder / f'first/iter_{ITERATIONS // 2}.pth')
    yield files.after(came(ended))


@removing('last_checkpoint names a file of another folder, which is copied together with it', TRAIN)
def copied(place: Place) -> Iterator[Outcome]:
    run = ShortRun(place, BEST)
    run.train('first', '--cfg-options', f'train_cfg.max_iters={ITERATIONS // 2}')
    shutil.copytree('first', 'second')
    files = Files(place.folder / 'first')
    yield files.after(came(run.train('second', '--resume')))


@removing('A second run in the work dir of another one, without --resume', TRAIN)
def second_run(place: Place) -> Iterator[Outcome]:
    for text in (keep(3), SELDOM, BEST):
        run = ShortRun(place, text)
        pths = Files(place.folder / 'unbroken')
        pths.before = {p: c for p, c in pths.before.items() if p.suffix == '.pth'}
        outcome = came(run.train('unbroken'))
        yield pths.after(outcome)
        shutil.rmtree('unbroken')


SHAPES = 'tools/misc/make_shapes.py'


@removing('make_shapes.py into the folder of another data set', SHAPES)
def shapes(place: Place) -> Iterator[Outcome]:
    for number, file in enumerate(
        ('annotations/panoptic_train2017.json', 'train2017/000000000001.png', 'val2017')
    ):
        folder = place.folder / f'mine{number}'
        path = folder / file
        path.parent.mkdir(parents=True)
        if path.suffix:
            path.write_text('of somebody else')
        else:
            path.mkdir()
            (path / '000000000002.png').write_text('of somebody else')
        files = Files(folder)
        make = partial(place.tool, SHAPES, folder, '--train', '2', '--val', '1')
        ended = Attempt(make, 'made').wait()
        outcome = came(ended)
        if outcome.kind == 'right':
            outcome = Outcome('silently wrong', 'exit code 0')
        yield files.after(outcome)
