"""Short runs of a model of a few weights, which faults break off, and what is left of them."""

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from trial.attempt import Attempt, ranks
from trial.judge import Ended, Outcome, last_line, sentence
from trial.place import Place

ITERATIONS = 8
CONFIG = """
_base_ = {base!r}
train_cfg = dict(max_iters={iterations}, val_interval=3)
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=3))
param_scheduler = [dict(type='PolyLR', power=0.9, by_epoch=False)]
log_processor = dict(window_size=1)
"""


class ShortRun:
    """A run of the toy model by tools/train.py, and what it gives where nothing breaks it off.

    Args:
        text: what the config has besides.
        processes: how many train together, on gloo.
        keep: checkpoints that have to be left after a kill; ``max_keep_ckpts``.
    """

    def __init__(self, place: Place, text: str = '', *, processes: int = 1, keep: int = 3) -> None:
        self.place, self.processes, self.keep = place, processes, keep
        base = str(place.checkout / 'tests/helpers/toy_config.py')
        self.config = place.folder / 'toy.py'
        (place.folder / 'toy_base.py').write_text(CONFIG.format(base=base, iterations=ITERATIONS))
        self.config.write_text(f"_base_ = 'toy_base.py'\n{text}")
        began = time.monotonic()
        ended = self.train('unbroken')
        self.seconds = time.monotonic() - began
        if ended.exit_code != 0:
            raise SystemExit(sentence(ended))
        self.warnings = warnings(ended)
        self.losses, self.weights = self.of('unbroken')

    def start(
        self,
        work: str,
        *arguments: Any,
        first: Callable[[], Any] | None = None,
        everywhere: Callable[[], Any] | None = None,
    ) -> list[Attempt]:
        """Begin training.

        ``everywhere`` is called in all processes beforehand, and ``first`` in that of rank 0.
        """

        def act() -> None:
            if everywhere:
                everywhere()
            if first and os.environ.get('RANK', '0') == '0':
                first()
            launcher = ['--launcher', 'pytorch'] if self.processes > 1 else []
            all_arguments = [self.config, '--work-dir', work, *launcher, *arguments]
            self.place.tool('tools/train.py', *all_arguments)

        if self.processes > 1:
            return ranks(act, work, self.processes)
        return [Attempt(act, work)]

    def train(self, work: str, *arguments: Any, first: Callable[[], Any] | None = None) -> Ended:
        """Train to the end; how the first process ended, or the first that says why."""
        ends = [attempt.wait() for attempt in self.start(work, *arguments, first=first)]
        return max(ends, key=lambda ended: bool(sentence(ended)))

    def of(self, work: str) -> tuple[dict[int, float], dict]:
        """The losses by iteration, and the tensors of the last checkpoint."""
        losses = {}
        for path in (self.place.folder / work).glob('*/vis_data/scalars.json'):
            for line in map(json.loads, path.read_text().splitlines()):
                if 'loss' in line:
                    losses[line['step']] = line['loss']
        file = self.place.folder / work / f'iter_{ITERATIONS}.pth'
        return losses, whole(file)['state_dict'] if file.is_file() else {}

    def after_break(self, work: str, log: str) -> Outcome:
        """Whether all that the broken run had finished is there, and whether it goes on from it.

        Args:
            log: what the broken run has written.
        """
        folder = self.place.folder / work
        kept = numbers(folder, 'iter_*.pth')
        last = max(map(int, re.findall(r'Saving checkpoint at (\d+) iterations', log)), default=0)
        if len(kept) < min(self.keep, last - 1) or max(kept, default=0) < last - 1:
            return Outcome('lost', f'{last - 1} checkpoints were finished; left: {kept or "none"}')
        best = re.findall(r'at (\d+) iter is saved to best', log)
        if best and max(numbers(folder, 'best_*.pth'), default=0) < int(best[-1]):
            return Outcome('lost', 'the best checkpoint is gone')
        return self.goes_on(work, max(kept, default=0))

    def goes_on(self, work: str, newest: int, *arguments: Any) -> Outcome:
        """Whether ``--resume`` goes on after iteration ``newest`` as if nothing had happened."""
        folder = self.place.folder / work
        for path in [path.parent for path in folder.glob('*/vis_data')]:
            shutil.rmtree(path)
        ended = self.train(work, *(arguments or ['--resume']))
        if ended.exit_code != 0:
            text = sentence(ended) or f'exit code {ended.exit_code} without a sentence'
            return Outcome('lost', f'does not resume: {last_line(text)}')
        losses, weights = self.of(work)
        first = min(losses, default=ITERATIONS + 1)
        if first != newest + 1:
            return Outcome('lost', f'goes on from iteration {first - 1}, and {newest} was whole')
        other = [step for step, loss in losses.items() if loss != self.losses[step]]
        if other:
            return Outcome('lost', f'the loss of iteration {other[0]} is another one')
        if not same_tensors(weights, self.weights):
            return Outcome('lost', 'the weights at the end are others')
        new = [line for line in warnings(ended) if line not in self.warnings]
        return Outcome('right', ' '.join(new))


def warnings(ended: Ended) -> list[str]:
    said = re.findall(r'mmengine - WARNING - (.*)', ended.output)
    return [line for line in said if not line.startswith('Nothing is left to train')]


def whole(file: Path) -> dict | None:
    """The content of a checkpoint, or None where it is half written."""
    try:
        return torch.load(file, map_location='cpu', weights_only=False)
    except Exception:
        return None


def numbers(folder: Path, pattern: str) -> list[int]:
    """The iterations of the whole checkpoints of a folder."""
    files = (path for path in folder.glob(pattern) if whole(path) is not None)
    return sorted(int(re.findall(r'\d+', path.stem)[-1]) for path in files)


def same_tensors(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
