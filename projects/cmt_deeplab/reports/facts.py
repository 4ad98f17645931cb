"""The facts of a run for its page: config, data, schedule and machine."""

import ast
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Mapping
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import BaseLoop, Runner

from cmt_deeplab.checkpoints.of_work_dir import BEST
from cmt_deeplab.engine.class_check import number_of_centers

PACKAGES = ('torch', 'mmdet', 'mmengine', 'mmcv', 'numpy')


def versions() -> str:
    """Python and the installed packages that matter, under the names they were installed by."""
    owners = packages_distributions()
    installed = [f'{name} {version(name)}' for name in (owners[p][0] for p in PACKAGES)]
    return ', '.join([f'Python {platform.python_version()}', *installed])


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'CPU, {os.cpu_count()} cores ({platform.machine()})'


def expected_quality(config: str | None) -> str | None:
    """What the docstring of a config file says of the PQ to expect, and who says so."""
    path = Path(config or '')
    if path.suffix != '.py' or not path.is_file():
        return None
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    found = re.search(r'Expected PQ.*?(?=\n\n|\Z)', text, re.DOTALL)
    return ' '.join(found[0].split()) if found else None


def warnings_of(runner: Runner, loop: BaseLoop) -> list[str]:
    """Sentences on classes that are not learned, and on images with more segments than centers."""
    sentences = [*runner.message_hub.get_info('unlearned_classes', [])]
    most = getattr(loop.dataloader.dataset, 'most_segments', 0)
    number, key = number_of_centers(runner.model)
    if number is not None and most > number:
        sentences.append(
            f'An image has up to {most} segments, but the model finds at most {number}: raise '
            f'{key} and train anew.'
        )
    return sentences


def skipped_iterations(runner: Runner) -> int:
    """The number of iterations that a time budget has left out."""
    return runner.message_hub.get_info('skipped_iterations', 0)


def run_facts(
    runner: Runner, loop: BaseLoop, training: Mapping[int, dict], *, started: float | None
) -> dict[str, str]:
    """The facts by name.

    ``training`` are the logged rows, and ``started`` is when the training of this process began, by
    ``time.monotonic``; of one that has ended earlier, config and log say less.
    """
    cfg, dataset = runner.cfg, loop.dataloader.dataset
    best = Path(runner.work_dir).glob(BEST)
    meta, source = dataset.metainfo, getattr(dataset, 'ann_file', '')
    things = len(meta['thing_classes'])
    facts: dict[str, Any] = dict(
        config=cfg.filename,
        expected=expected_quality(cfg.filename),
        **training_facts(runner, training, live=started is not None),
    )
    if started is not None:
        minutes = (time.monotonic() - started) / 60
        facts['training time'] = f'{minutes:.1f} minutes, validations included'
        facts |= dict(command=shlex.join(['python', *sys.argv]), seed=runner.seed)
    else:
        facts['tested checkpoint'] = runner._load_from
    facts |= {
        'best checkpoint': max(best, key=lambda path: path.stat().st_mtime, default=None),
        'tested on': f'{len(dataset)} images {source and f"({source})"}',
        'classes': f'{things} of things, {len(meta["classes"]) - things} of stuff',
        'machine': machine(),
        'versions': versions(),
        'work folder': runner.work_dir,
    }
    return {name: str(fact) for name, fact in facts.items() if fact is not None}


def training_facts(
    runner: Runner, training: Mapping[int, dict], *, live: bool
) -> dict[str, str | None]:
    """How long, how fast and on what the model was trained."""
    loader = runner.cfg.get('train_dataloader') or {}
    length = (runner.cfg.get('train_cfg') or {}).get('max_iters')
    facts: dict[str, str | None] = {}
    if live:
        dataset = runner.train_dataloader.dataset
        source = getattr(dataset, 'ann_file', '')
        facts['trained on'] = f'{len(dataset)} images {source and f"({source})"}'
    if not training or not length:
        return facts
    done, row = runner.iter if live else max(training), training[max(training)]
    batch = loader.get('batch_size', 0) * (runner.world_size if live else 1)
    facts['iterations'] = f'{done} of {length}' + f', of {batch} images each' * bool(batch)
    skipped = skipped_iterations(runner)
    facts['iterations'] += f'; {skipped} of them skipped to end in time' * bool(skipped)
    rate, images = row.get('base_lr', row.get('lr')), row.get('images_per_second')
    facts['learning rate'] = None if rate is None else f'{rate:.3g} in the last logged iteration'
    facts['speed'] = f'{row["time"]:.3g} s for an iteration, of which {row["data_time"]:.3g} s wait'
    facts['speed'] += ' for data' if images is None else f' for data; {images:.3g} images a second'
    if done < length:
        left = (length - done) * row['time'] / 60
        facts['time left'] = f'about {left:.0f} minutes, without validations'
    facts['memory of the GPU'] = f'{row["memory"]} MiB' if row.get('memory') else None
    return facts
