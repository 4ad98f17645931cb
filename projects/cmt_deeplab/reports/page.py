"""What stands on the page about a run, and the file: no other file, no script and no network."""

import ast
import base64
import io
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

import jinja2
import numpy as np
import torch
from mmengine.runner import BaseLoop, Runner
from PIL import Image

from cmt_deeplab.analysis.lost_pq import CAUSES, MEANINGS, main_cause
from cmt_deeplab.engine.class_check import number_of_centers, unwrapped
from cmt_deeplab.engine.loop.batch_stream import images_per_batch
from cmt_deeplab.evaluation import PanopticQualityMetric

from .history import curves, logged, speed

PACKAGES = ('torch', 'mmdet', 'mmengine', 'mmcv', 'numpy')
FOLDED = 20  # classes from which on their table is folded
HIDDEN = 20  # points of PQ between things and stuff that the overall figure hides
ADVICE = {
    'merged': 'raise num_centers of the transformer decoder above the most segments of an image, '
    'predict at a finer stride, or give the network larger images',
    'split': 'train longer, or let the training crops hold whole segments',
    'missed': 'train longer, lower thing_threshold and stuff_threshold of the merge, or give the '
    'network larger images where the missed segments are small',
    'spurious': 'train longer, or raise thing_threshold and stuff_threshold of the merge',
    'wrong class': 'add examples of the classes that are mistaken for others, or merge classes '
    'that look alike',
    'loose': 'predict at a finer stride, or give the network larger images',
}


def data_uri(picture: np.ndarray | str) -> str:
    """The source of an ``<img>``: of an RGB picture (H, W, 3) uint8, or of the text of an SVG.

    A picture is a PNG or a JPEG, whichever is smaller.
    """
    if isinstance(picture, str):
        kind, data = 'svg+xml', picture.encode()
    else:
        forms = {}
        for form, options in dict(png=dict(optimize=True), jpeg=dict(quality=88)).items():
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, form, **options)
            forms[form] = buffer.getvalue()
        kind = min(forms, key=lambda form: len(forms[form]))
        data = forms[kind]
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def versions() -> str:
    """Python and the installed packages that matter, under the names they were installed by."""
    owners = packages_distributions()
    installed = [f'{name} {version(name)}' for name in (owners[p][0] for p in PACKAGES)]
    return ', '.join([f'Python {platform.python_version()}', *installed])


def expected_quality(config: str | None) -> str | None:
    """What the docstring of a config file says of the PQ to expect, and who says so."""
    path = Path(config or '')
    if path.suffix != '.py' or not path.is_file():
        return None
    text = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) or ''
    found = re.search(r'Expected PQ.*?(?=\n\n|\Z)', text, re.DOTALL)
    return ' '.join(found[0].split()) if found else None


def machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f'CPU, {os.cpu_count()} cores ({platform.machine()})'


def verdict(lost: Mapping[str, dict], figures: Mapping[str, dict]) -> dict[str, str] | None:
    """The main cause of the lost PQ, of things or of stuff, whichever loses more."""
    groups = [group for group in ('Things', 'Stuff') if figures[group]['n']]
    if not groups:
        return None
    group = max(groups, key=lambda name: sum(lost[name]['lost'].values()))
    cause = main_cause(lost[group])
    if cause is None:
        return None
    row = lost[group]['lost']
    return dict(
        group=group,
        points=f'{100 * row[cause]:.1f}',
        total=f'{100 * sum(row.values()):.1f}',
        cause=cause,
        meaning=MEANINGS[cause],
        advice=ADVICE[cause],
    )


def used_datasets(runner: Runner, loop: BaseLoop) -> dict[str, Any]:
    sets = {'tested on': loop.dataloader.dataset}
    if isinstance(runner._train_loop, BaseLoop):
        sets = {'trained on': runner.train_dataloader.dataset, **sets}
    return sets


def few_centers(runner: Runner, loop: BaseLoop) -> str | None:
    """The sentence on images that have more segments than the model has centers."""
    sets = used_datasets(runner, loop).values()
    most = max(getattr(dataset, 'most_segments', 0) for dataset in sets)
    number, key = number_of_centers(runner.model)
    if number is None or most <= number:
        return None
    return f'An image has up to {most} segments, but the model finds at most {number}: raise {key}.'


def data_facts(runner: Runner, loop: BaseLoop) -> dict[str, str]:
    """The data sets and their classes."""
    facts = {}
    for name, dataset in used_datasets(runner, loop).items():
        source = getattr(dataset, 'ann_file', '') or type(dataset).__name__
        facts[name] = f'{len(dataset)} images ({source})'
    meta = loop.dataloader.dataset.metainfo
    things = len(meta['thing_classes'])
    facts['classes'] = f'{things} of things, {len(meta["classes"]) - things} of stuff'
    return facts


def training_facts(runner: Runner, training: Mapping[int, dict]) -> dict[str, str]:
    """How long, how fast and with what the model was trained."""
    facts = {}
    if isinstance(runner._train_loop, BaseLoop):
        images = images_per_batch(runner.train_dataloader) or 0
        facts['iterations'] = f'{runner.iter} of {runner.max_iters}'
        if images:
            processes = f' in each of {runner.world_size} processes' * (runner.world_size > 1)
            facts['iterations'] += f', of {images} images each{processes}'
        now = speed(training, images * runner.world_size)
        skipped = runner.message_hub.get_info('skipped_iterations', 0)
        if skipped:
            facts['iterations'] += f'; {skipped} of them skipped to end in time'
        if now['learning_rate'] is not None:
            facts['learning rate'] = f'{now["learning_rate"]:.3g} in the last logged iteration'
        if now['seconds']:
            facts['speed'] = f'{now["seconds"]:.3g} s for an iteration'
            if images:
                facts['speed'] += f', {now["images"]:.3g} images per second'
            left = (runner.max_iters - runner.iter) * now['seconds'] / 60
            if left:
                facts['time left'] = f'about {left:.0f} minutes, without validations'
        if now['memory']:
            facts['memory of the GPU'] = f'{now["memory"]} MiB'
    return facts


def write_page(runner: Runner, loop: BaseLoop, metric: PanopticQualityMetric, *, hook: Any) -> Path:
    """Write the page about the evaluation that ``metric`` has just made in ``loop``."""
    work_dir = Path(runner.work_dir)
    training, validation = logged(work_dir)
    charts, parts = curves(training, validation)
    meta, figures, lost = loop.dataloader.dataset.metainfo, metric.figures, metric.lost_pq
    config = runner.cfg.filename
    model = unwrapped(runner.model)
    path = work_dir / 'report.html'
    checkpoint = runner._load_from if loop is runner._test_loop else None
    iteration = hook.iteration if checkpoint else runner.iter
    best = sorted(work_dir.glob('best_*.pth'), key=lambda file: file.stat().st_mtime)
    minutes = hook.started and (time.monotonic() - hook.started) / 60
    parameters = sum(p.numel() for p in model.parameters())
    lead = f'{type(model).__name__} with {parameters / 1e6:.1f} million parameters'
    lead += f' after {iteration:,} iterations' if iteration is not None else ''
    lead += f', tested on {len(loop.dataloader.dataset)} images.'
    facts = {
        'config': config,
        'parameters': f'{parameters:,}',
        'expected': expected_quality(config),
        **data_facts(runner, loop),
        **training_facts(runner, training),
        'training time': minutes and f'{minutes:.1f} minutes, validations included',
        'command': shlex.join(['python', *sys.argv]),
        'checkpoint': checkpoint,
        'best checkpoint': best[-1] if best else None,
        'seed': runner.seed,
        'machine': machine(),
        'versions': versions(),
        'work folder': runner.work_dir,
    }
    name = Path(config or '').stem
    title = hook.title or (work_dir.name if name in ('', 'config') else name)
    gap = 100 * abs(figures['Things']['pq'] - figures['Stuff']['pq'])
    both = figures['Things']['n'] and figures['Stuff']['n']
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['data_uri'] = data_uri
    page = environment.get_template('report.html.j2').render(
        title=title,
        lead=lead,
        figures=figures,
        hidden=both and gap > HIDDEN,
        lost=lost,
        causes=CAUSES,
        meanings=MEANINGS,
        verdict=verdict(lost, figures),
        few_centers=few_centers(runner, loop),
        charts=charts,
        parts=parts,
        examples=hook.examples,
        meta=meta,
        folded=len(meta['classes']) > FOLDED,
        facts={key: str(value) for key, value in facts.items() if value is not None},
        sizes={},
        next_steps=hook.next_steps or [],
    )
    path.write_text(page, encoding='utf-8')
    return path
