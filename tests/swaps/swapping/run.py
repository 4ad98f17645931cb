"""Runs rows through tools/train.py, each in a process of its own, and judges what it showed."""

import contextlib
import gc
import inspect
import os
import re
import runpy
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from cmt_deeplab.criterion import PanopticMatchCostAssigner
from forks import in_forks
from mmengine.model.utils import _BatchNormXd
from yapf.yapflib import yapf_api

from .alignment import misplaced, mixed
from .data import NUM_TRAIN
from .probe import Evidence, Probe, bare
from .row import Outcome, Row

ROOT = Path(__file__).resolve().parents[3]
BASES = Path(__file__).resolve().parents[1] / 'bases'
LONGEST = 300  # seconds of one row
# What takes the place of a type: the assigner takes mmdet's costs, and in one process on a CPU
# mmengine makes SyncBN a batch norm.
STANDS_FOR = dict(HungarianAssigner=PanopticMatchCostAssigner, SyncBN=_BatchNormXd)


def run_rows(rows: Sequence[Row], root: Path, *, jobs: int = 1) -> Iterator[tuple[Row, Outcome]]:
    """Each row with what became of it, as they end; ``root`` is where ``write_data`` wrote.

    ``jobs`` rows run at a time. The base of each row runs before.
    """
    gc.collect()
    gc.freeze()  # the forks need not look at what is there already
    try:
        bases = dict.fromkeys(row.base for row in rows if row.base is not None)
        unchanged = [Row('bases', base, '', base=base, changes='') for base in bases]
        for row, outcome in _parallel(unchanged, root, {}, jobs):
            if outcome.kind != 'works':
                raise RuntimeError(f'The base {row.base} itself: {outcome.text}')
            bases[row.base] = outcome.evidence
        yield from _parallel(rows, root, bases, jobs)
    finally:
        gc.unfreeze()


def _parallel(
    rows: Sequence[Row], root: Path, bases: dict, jobs: int
) -> Iterator[tuple[Row, Outcome]]:
    """Outcomes of rows that run in forks, which have all imports already."""

    def work(sender, row: Row) -> None:
        _child(sender, row, root, bases.get(row.base))

    for row, outcome, code, seconds in in_forks(work, rows, jobs=jobs, longest=LONGEST):
        if outcome is None:
            late = code is None
            text = f'no end after {LONGEST} seconds' if late else 'the process died'
            outcome = Outcome('fault', text)
        outcome.seconds = seconds
        yield row, outcome


def _child(sender, row: Row, root: Path, base: dict | None) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter('ignore')
    try:
        outcome = outcome_of(row, root, base)
    except BaseException:  # noqa: B036  a fault of the checks themselves is reported too
        outcome = Outcome('fault', traceback.format_exc())
    sender.send(outcome)
    sender.close()


def leaf_text(row: Row) -> str:
    if row.base is None:
        return row.leaf.replace("'configs/", f"'{ROOT}/configs/")
    return f'_base_ = {str(BASES / row.base) + ".py"!r}\n{row.leaf}'


def outcome_of(row: Row, root: Path, base: dict | None) -> Outcome:
    """Train and validate the leaf by tools/train.py, then judge it."""
    folder = root / 'runs' / re.sub(r'\W+', '_', f'{row.section} {row.part}')
    shutil.rmtree(folder, ignore_errors=True)  # a base runs again, which a work dir would refuse
    folder.mkdir(parents=True)
    leaf = folder / 'leaf.py'
    leaf.write_text(leaf_text(row))
    os.chdir(root / 'scenes')
    seen, code, log = train(leaf, folder, row.arguments)
    if code is not None:
        sentence = re.findall(r'^Error: (.*)$', log.read_text(errors='replace'), re.MULTILINE)
        text = sentence[-1].replace(f'{folder}/', '') if sentence else code
        if not sentence:
            return Outcome('fault', code)
        if seen.started:
            when = 'in iteration 1' if not seen.losses else 'at the first validation'
            text = f'{when}: {text}'
            if not row.late:
                return Outcome('fault', text)
        if row.refused is None:
            return Outcome('fault', f'refused: {text}')
        if row.refused not in text:
            return Outcome('fault', f'not the sentence that was expected: {text}')
        return Outcome('refused', text)
    evidence = summary(seen)
    problems = list(judge(row, seen, evidence, base, root))
    if row.refused is not None:
        problems.insert(0, 'works, where a refusal was expected')
    if problems:
        return Outcome('fault', '; '.join(problems), evidence)
    return Outcome('works', '', evidence)


def train(leaf: Path, folder: Path, arguments: Sequence[str]) -> tuple[Evidence, str | None, Path]:
    """What the run showed, None or how it failed, and the file with all that it wrote."""
    from cmt_deeplab.engine import runner_setup

    probe, build = Probe(), runner_setup.build_runner

    def build_with_probe(cfg):
        runner = build(cfg)
        runner.register_hook(probe, priority='LOWEST')
        return runner

    log, failure = folder / 'log.txt', None
    argv = ['train.py', str(leaf), '--work-dir', str(folder / 'work'), *arguments]
    with (
        log.open('w') as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
        mock.patch.object(runner_setup, 'build_runner', build_with_probe),
        mock.patch.object(sys, 'argv', argv),
        mock.patch.object(sys, 'path', list(sys.path)),
        # the layout of the config in the log takes most of the time of a short run
        mock.patch.object(yapf_api, 'FormatCode', lambda text, **_: (text, True)),
    ):
        try:
            runpy.run_path(str(ROOT / 'tools/train.py'), run_name='__main__')
        except SystemExit as end:
            failure = f'exit code {end.code}'
        except BaseException as error:  # noqa: B036  the stack trace that a user would see
            traceback.print_exc()
            frame = traceback.extract_tb(error.__traceback__)[-1]
            failure = f'{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})'
    return probe.seen, failure, log


def summary(seen: Evidence) -> dict:
    """What rows are compared by."""
    counts = dict.fromkeys(('nonzero', 'zero', 'none', 'not finite'), 0)
    for state in seen.gradients.values():
        counts[state] += 1
    return dict(
        output=None if seen.output is None else seen.output.numpy(),
        map=seen.maps,
        metrics=seen.metrics,
        losses=seen.losses,
        rates=seen.rates,
        gradients=counts,
    )


def judge(row: Row, seen: Evidence, evidence: dict, base: dict | None, root: Path) -> Iterator[str]:
    """What is wrong with a run that ended."""
    if not seen.losses or not all(np.isfinite(v) for it in seen.losses for v in it.values()):
        yield f'losses are not finite: {seen.losses}'
    if not seen.metrics:
        yield 'no metrics'
    yield from gradients(row, seen, evidence)
    yield from changes(row, evidence, base)
    for name in dead_types(row):
        yield f'nothing of type {name} is alive'
    for check in row.shows:
        problem = check(seen, base)
        if problem:
            yield problem
    runner = seen.runner
    os.chdir(root / 'coordinates')
    if not row.colors:
        share = evidence['misplaced'] = misplaced(runner, root, 3 * NUM_TRAIN)
        if share > row.tolerance:
            yield f'{share:.1%} of the labeled pixels are misplaced'
    os.chdir(root / 'segments')
    share = evidence['mixed'] = float(mixed(runner, 3 * NUM_TRAIN))
    if share > row.mixed:
        yield f'{share:.1%} of the variance lies within segments'


def gradients(row: Row, seen: Evidence, evidence: dict) -> Iterator[str]:
    for part in row.learns:
        inside = {
            name: state
            for name, state in seen.gradients.items()
            if f'{name}.'.startswith(f'{part}.') and not any(words in name for words in row.unused)
        }
        evidence[f'learns {part}'] = f'{sum(s == "nonzero" for s in inside.values())}/{len(inside)}'
        bad = [name for name, state in inside.items() if state != 'nonzero']
        if not inside:
            yield f'{part} has no parameter that learns'
        elif bad:
            yield f'no gradient in {len(bad)} of {len(inside)} tensors of {part}: {bad[:4]}'
    infinite = [name for name, state in seen.gradients.items() if state == 'not finite']
    if infinite:
        yield f'the gradient is not finite in {infinite[:4]}'
    for part in row.frozen:
        moving = [n for n, s in seen.gradients.items() if n.startswith(part) and s != 'none']
        if moving:
            yield f'{part} should be frozen, but {moving[:4]} learn'
        if part not in dict(bare(seen.runner.model).named_modules()):
            yield f'there is no module {part}'


def changes(row: Row, evidence: dict, base: dict | None) -> Iterator[str]:
    if base is None or not row.changes:
        return
    if row.changes in ('output', 'nothing'):
        one, other = evidence['output'], base['output']
        same = one.shape == other.shape and np.array_equal(one, other)
        if same and row.changes == 'output':
            yield 'the output is that of the base'
        if not same and row.changes == 'nothing':
            yield 'the output differs from that of the base'
    elif evidence[row.changes] == base[row.changes]:
        yield f'the {row.changes} did not change'


def dead_types(row: Row) -> list[str]:
    """The types that the leaf names and of which the run holds no object."""
    import mmdet.registry
    from mmengine.registry import Registry

    registries = [r for r in vars(mmdet.registry).values() if isinstance(r, Registry)]
    absent = []
    objects = gc.get_objects()
    for name in dict.fromkeys(re.findall(r"type='([\w.]+)'", row.leaf)):
        found = {
            known
            for registry in registries
            if registry.name not in ('weight initializer', 'function')
            and inspect.isclass(known := registry.get(name))
        }
        found = {STANDS_FOR[name]} if name in STANDS_FOR else found
        if found and not any(isinstance(o, tuple(found)) for o in objects):
            absent.append(name)
    return absent
