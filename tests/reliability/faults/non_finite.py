"""Losses, gradients and statistics that cease to be finite."""

import math
import os
import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from situations.images import segments
from trial.attempt import Attempt
from trial.judge import Outcome, last_line, one_line, sentence
from trial.place import Place
from trial.situation import TRAIN, Found, faults

from .kills import keep
from .short_runs import ITERATIONS, ShortRun, numbers, same_tensors, whole

kind = faults(
    'Numbers that are not finite',
    'One value of iteration 4 becomes nan or inf. No update is made with it: the newest checkpoint '
    'has the weights of iteration 3, bit for bit, the sentence names the iteration and the term, '
    'the command that it gives repeats the step, and a resumed run goes on as an unbroken one.',
)
AT = 4
ACCUMULATION = 'optim_wrapper = dict(accumulative_counts=4)\n'


def spoil(how: str, at: int, rank: int | None = None) -> None:
    """Give the toy model two loss terms, of which one is spoiled in call ``at`` of training."""
    import toy

    forward, calls = toy.ToyModel.forward, 0

    def spoiled(self, inputs, index, mode='tensor'):
        nonlocal calls
        found = forward(self, inputs, index, mode)
        if mode != 'loss':
            return found
        calls += 1
        terms = {'loss_mask': found['loss'], 's2.loss_mask': found['loss'] * 0.5}
        here = rank is None or os.environ.get('RANK') == str(rank)
        if calls == at and here:
            term = terms['s2.loss_mask']
            if how == 'gradient':
                terms['s2.loss_mask'] = toy.InfiniteGradient.apply(term)
            elif how == 'statistics':
                self.norm.running_mean.data.fill_(math.nan)
            else:
                terms['s2.loss_mask'] = term * float(how)
        return terms

    toy.ToyModel.forward = spoiled


KINDS = {
    'A loss term is nan': ('nan', '', 1, None),
    'A loss term is inf': ('inf', '', 1, None),
    'A loss term is -inf': ('-inf', '', 1, None),
    'The loss is finite, and its gradient is inf': ('gradient', '', 1, None),
    'A statistic of a norm is nan': ('statistics', '', 1, None),
    'A loss term is nan in the last iteration of an accumulation': ('nan', ACCUMULATION, 1, None),
    'A loss term is nan in one of two processes': ('nan', '', 2, 1),
}


class SpoiledRun(ShortRun):
    """A run of the toy model with two terms; ``how`` spoils one of them where it is not None."""

    how: str | None = None
    rank: int | None = None

    def start(self, work: str, *arguments: Any, first: Callable | None = None) -> list[Attempt]:
        def spoiled() -> None:
            spoil(self.how or 'nan', AT if self.how else 10**9, self.rank)

        return super().start(work, *arguments, everywhere=spoiled)


for name, (how, text, processes, rank) in KINDS.items():

    @kind(name, TRAIN)
    def not_finite(
        place: Place, how=how, text=text, processes=processes, rank=rank
    ) -> Iterator[Outcome]:
        run = SpoiledRun(place, text, processes=processes)
        run.how, run.rank = how, rank
        ended = run.train('work')
        said = one_line(sentence(ended))
        run.how = None
        term = 's2.loss_mask' if how.endswith(('nan', 'inf')) else ''
        if ended.exit_code == 0:
            yield Outcome('silently wrong', 'trains to the end')
        elif 'Traceback' in ended.errors:
            yield Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
        elif not re.search(rf'iteration {AT}\b', said) or term not in said:
            yield Outcome('misleading', said)
        else:
            yield left(run, said)
            yield repeated(run, said, how)


def left(run: SpoiledRun, said: str) -> Outcome:
    """Whether the newest checkpoint has the weights before the spoiled step, and a run goes on."""
    folder = run.place.folder
    newest = max(numbers(folder / 'work', 'iter_*.pth'), default=0)
    found = whole(folder / f'work/iter_{newest}.pth')['state_dict']
    for key, value in found.items():
        if not torch.isfinite(value).all():
            return Outcome('lost', f'checkpoint {newest} holds nan in {key}')
    good = folder / f'unbroken/iter_{AT - 1}.pth'
    if good.is_file() and newest >= AT and not same_tensors(found, whole(good)['state_dict']):
        return Outcome('lost', f'checkpoint {newest} has other weights than before')
    outcome = run.goes_on('work', newest)
    return Outcome('told', said) if outcome.kind == 'right' else outcome


def repeated(run: SpoiledRun, said: str, how: str) -> Outcome:
    """Whether the command of the sentence repeats the step."""
    command = re.search(r'`python (\S+) ([^`]+)`', said)
    if not command:
        return Outcome('misleading', f'names no command: {said}')

    def act() -> None:
        spoil(how, 1)
        run.place.tool(command[1], *shlex.split(command[2]))

    ended = Attempt(act, 'replayed').wait()
    if 'Traceback' in ended.errors or ended.exit_code not in (0, 1):
        return Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
    text = ended.output + ended.errors
    same = re.search('nan|inf|not finite', text)
    return Outcome('told', said) if same else Outcome('silently wrong', 'the replay is finite')


@kind('A loss term is nan, and the option lets training go on', TRAIN)
def going_on(place: Place) -> Iterator[Outcome]:
    run = SpoiledRun(place, keep(-1) + 'optim_wrapper = dict(skip_not_finite=True)\n')
    run.how = 'nan'
    ended = run.train('work')
    if ended.exit_code != 0:
        yield Outcome('misleading', one_line(sentence(ended)))
        return
    before, after, end = (
        run.of('work')[1] if number == ITERATIONS else weights_of(place, number)
        for number in (AT - 1, AT, ITERATIONS)
    )
    if not all(torch.isfinite(value).all() for value in end.values()):
        yield Outcome('lost', 'the weights at the end are not finite')
    elif not same_tensors(before, after):
        yield Outcome('lost', 'the step was not skipped')
    else:
        words = [line for line in ended.output.splitlines() if f'iteration {AT} ' in line]
        told = one_line(words[0].partition('WARNING - ')[2]) if words else ''
        yield Outcome('told', told) if told else Outcome('silently wrong', 'no word of it')


def weights_of(place: Place, number: int) -> dict:
    return whole(place.folder / f'work/iter_{number}.pth')['state_dict']


@kind('Each loss term of the tiny model is nan in its turn', TRAIN)
def each_term(place: Place) -> Iterator[Outcome]:
    from mmengine.config import Config

    config = place.config(iterations=3)
    batches = Config.fromfile(str(config)).train_dataloader.batch_size
    for number in range(100):
        act = partial(spoil_term, place, config, number, f'work{number}')
        ended = Attempt(act, f'term{number}').wait()
        names = (place.folder / f'work{number}.terms').read_text().split()
        if number >= len(names):
            return
        said = one_line(sentence(ended))
        if ended.exit_code == 0:
            yield Outcome('silently wrong', f'{names[number]}: trains to the end')
        elif 'Traceback' in ended.errors:
            yield Outcome('trace', last_line(ended.errors.strip().splitlines()[-1]))
        elif 'iteration 2' not in said or names[number] not in said or said.count('.png') < batches:
            yield Outcome('misleading', f'{names[number]}: {said}')
        else:
            yield Outcome('told', said)


def spoil_term(place: Place, config: Path, number: int, work: str) -> None:
    from cmt_deeplab.models.detectors.cmt_deeplab import CMTDeepLab

    loss, calls = CMTDeepLab.loss, 0

    def spoiled(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        terms = loss(self, *args, **kwargs)
        names = sorted(name for name in terms if 'loss' in name)
        (place.folder / f'{work}.terms').write_text('\n'.join(names))
        if calls == 2 and number < len(names):
            terms[names[number]] = terms[names[number]] * math.nan
        return terms

    CMTDeepLab.loss = spoiled
    place.tool(TRAIN, config, '--work-dir', work)


for void in ('has no segment, so that all of it is void', 'is all crowd'):

    @kind(f'An image {void}', TRAIN)
    def all_void(place: Place, void=void) -> Found:
        segments(place, 0 if 'void' in void else 576)
        if 'crowd' in void:
            place.edit(crowds, 'train')
        place.train('', batch=1, iterations=6)
        values = [value for value in losses_of(place) if not np.isfinite(value)]
        return Found(len(values), 0, 'losses that are not finite:', 0)


def crowds(content: dict) -> None:
    for segment in content['annotations'][0]['segments_info']:
        segment['iscrowd'] = 1


def losses_of(place: Place) -> list[float]:
    from situations.resume import values_of

    return list(values_of(place, 'work', 'loss').values())
