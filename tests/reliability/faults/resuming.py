"""Runs that go on from each of their checkpoints, under all settings that resuming is exact in."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from trial.attempt import Attempt
from trial.judge import Outcome, sentence
from trial.place import Place
from trial.situation import TRAIN, faults

from .kills import WORKERS
from .short_runs import ITERATIONS, ShortRun, warnings

kind = faults(
    'Resumed from each checkpoint',
    'A run of eight iterations goes on from each of its checkpoints. All losses after it and the '
    'weights at the end are those of the unbroken run, bit for bit.',
)
ALL = 'default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))\n'
EMA = "custom_hooks = [dict(type='EMAHook', momentum=0.1)]\n"
ACCUMULATION = 'optim_wrapper = dict(accumulative_counts=3)\n'
AMP = "optim_wrapper = dict(type='PanopticAmpOptimWrapper', dtype='bfloat16')\n"
ROUTE = TRAIN + ' --resume'
# by name: the config besides, the processes, and what the command line of the resumed run has
SETTINGS = {
    'num_workers=0': ('', 1, ()),
    'num_workers=2': (WORKERS, 1, ()),
    'num_workers=2 at first, and then 0': (WORKERS, 1, ('train_dataloader.num_workers=0',)),
    'num_workers=0 at first, and then 3': ('', 1, ('train_dataloader.num_workers=3',)),
    'Two processes': ('', 2, ()),
    'Two processes with num_workers=2': (WORKERS, 2, ()),
    'In the middle of an accumulation of 3 iterations': (ACCUMULATION, 1, ()),
    'In the middle of an accumulation, two processes': (ACCUMULATION, 2, ()),
    'EMAHook': (EMA, 1, ()),
    'EMAHook, accumulation, num_workers=2 and two processes': (EMA + ACCUMULATION + WORKERS, 2, ()),
    'Mixed precision': (AMP, 1, ()),
}

for name, (text, processes, options) in SETTINGS.items():

    @kind(name, ROUTE)
    def from_each(
        place: Place, text=text, processes=processes, options=options
    ) -> Iterator[Outcome]:
        run = ShortRun(place, ALL + text, processes=processes)
        for number in range(1, ITERATIONS):
            start = place.folder / f'start{number}.pth'
            shutil.copy(place.folder / f'unbroken/iter_{number}.pth', start)
            arguments = ['--resume', start, *(['--cfg-options', *options] if options else [])]
            yield run.goes_on(f'work{number}', number, *arguments)


for before, now in ((2, 1), (1, 2)):

    @kind(f'The run had {before} process{"es" * (before > 1)}, and has {now} now', ROUTE)
    def other_number(place: Place, before=before, now=now) -> Iterator[Outcome]:
        run = ShortRun(place, ALL, processes=before)
        run.processes = now
        for number in (2, 5):
            start = place.folder / f'unbroken/iter_{number}.pth'
            ended = run.train(f'work{number}', '--resume', start)
            words = [line for line in ended.output.splitlines() if 'process' in line]
            words += ended.errors.splitlines()[-1:] if ended.exit_code else []
            said = [word.partition('WARNING - ')[2] or word for word in words if 'process' in word]
            if 'Traceback' in ended.errors:
                yield Outcome('trace', ended.errors.strip().splitlines()[-1])
            elif said:
                yield Outcome('told', said[-1])
            else:
                yield Outcome('silently wrong', 'trains on without a word')


EARLIER = Path(__file__).resolve().parents[2] / 'engine/earlier'
PLAIN = """
_base_ = {base!r}
train_dataloader = dict(dataset=dict(noise=0.0))
val_dataloader = val_cfg = val_evaluator = None
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
model = dict(dropout=0.0)
log_processor = dict(window_size=1)
"""


@kind('The checkpoint is one of an earlier release', ROUTE)
def earlier(place: Place) -> Iterator[Outcome]:
    """The losses are those that the code of the release gave, but for the last digits."""
    config = place.folder / 'toy.py'
    config.write_text(PLAIN.format(base=str(place.checkout / 'tests/helpers/toy_config.py')))
    for release, right in json.loads((EARLIER / 'results.json').read_text()).items():
        start = shutil.copy(EARLIER / f'{release}.pth', place.folder)
        options = ['--work-dir', release, '--resume', start]
        ended = Attempt(partial(place.tool, TRAIN, config, *options), release).wait()
        lines = [path.read_text() for path in Path(release).glob('*/vis_data/scalars.json')]
        losses = [json.loads(line)['loss'] for line in ''.join(lines).splitlines()]
        if ended.exit_code != 0:
            yield Outcome('lost', f'{release} does not resume: {sentence(ended)}')
        elif not np.allclose(losses, right['losses'][4:], rtol=1e-5, atol=0):
            yield Outcome('lost', f'the losses after {release} are others')
        else:
            said = [line for line in warnings(ended) if 'earlier release' in line]
            yield Outcome('right', ' '.join(said))
