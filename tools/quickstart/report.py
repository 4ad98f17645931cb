"""The report of a finished run: one page that needs no other file, no script and no network."""

import argparse
import base64
import io
import os
import platform
import shlex
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from cmt_deeplab.evaluation.pq import aggregate
from cmt_deeplab.visualization import PanopticDrawer
from mmengine.runner import Runner
from PIL import Image

from . import ROOT
from .charts import loss_chart, quality_chart
from .pictures import example
from .progress import ProgressHook
from .recorder import PredictionRecorder

PACKAGES = ('torch', 'mmdet', 'mmengine', 'mmcv', 'numpy')


def data_uri(picture: np.ndarray | str) -> str:
    """The source of an ``<img>``: of an RGB picture (H, W, 3) uint8, or of the text of an SVG."""
    if isinstance(picture, str):
        kind, data = 'svg+xml', picture.encode()
    else:
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, 'PNG', optimize=True)
        kind, data = 'png', buffer.getvalue()
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def write_page(path: Path, **content: Any) -> None:
    """Fill the template, which lies beside this file, with the values that it names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(data_uri=data_uri, relpath=os.path.relpath)
    page = environment.get_template('report.html.j2').render(content)
    path.write_text(page, encoding='utf-8')


def charts(runner: Runner, progress: ProgressHook) -> dict[str, dict[str, str]]:
    """SVG texts by title: ``charts`` of loss and PQ, and ``parts`` of the loss, small ones."""
    iterations = list(progress.seconds)
    seconds = list(progress.seconds.values())

    def minutes(iteration: float) -> float:
        return float(np.interp(iteration, [0, *iterations], [0, *seconds])) / 60

    def loss(name: str, title: str, **options: Any) -> str:
        return loss_chart(title, iterations, runner.message_hub.get_scalar(name).data[0], **options)

    total = 'Training loss, sum of all parts'
    quality = f'PQ in percent, {len(runner.val_dataloader.dataset)} validation images'
    parts = {
        name: name.removeprefix('train/loss_').replace('_', ' ')
        for name in runner.message_hub.log_scalars
        if name.startswith('train/loss_')
    }
    return dict(
        charts={
            total: loss('train/loss', total, minutes=minutes),
            quality: quality_chart(quality, progress.validations, minutes=minutes),
        },
        parts={title: loss(name, title) for name, title in parts.items()},
    )


def versions() -> str:
    """Python and the installed packages that matter, under the names they were installed by."""
    owners = packages_distributions()
    installed = [f'{name} {version(name)}' for name in (owners[p][0] for p in PACKAGES)]
    return ', '.join([f'Python {platform.python_version()}', *installed])


def write_report(
    args: argparse.Namespace,
    runner: Runner,
    progress: ProgressHook,
    recorder: PredictionRecorder,
    *,
    skipped: int,
) -> tuple[Path, float]:
    """Write the report of a finished run; its path and the PQ in percent.

    ``skipped`` is the number of iterations that the time budget left out.
    """
    meta = runner.val_dataloader.dataset.metainfo
    is_thing = {k: name in meta['thing_classes'] for k, name in enumerate(meta['classes'])}
    figures = aggregate((image.row for image in recorder.images), is_thing)
    drawer = PanopticDrawer(classes=meta['classes'], num_things_classes=len(meta['thing_classes']))
    inside = Path(sys.executable).is_relative_to(Path.cwd())
    machine = f'CPU, {os.cpu_count()} cores ({platform.machine()})'
    if torch.cuda.is_available():
        machine = torch.cuda.get_device_name()
    path = Path(runner.work_dir, 'report.html')
    write_page(
        path,
        args=args,
        command=shlex.join(['python', *sys.argv]),
        config=os.path.relpath(args.config, ROOT),
        examples=[example(*found, drawer=drawer) for found in recorder.examples],
        figures=figures,
        machine=machine,
        meta=meta,
        minutes=progress.seconds[runner.max_iters] / 60,
        parameters=sum(p.numel() for p in runner.model.parameters()),
        python=os.path.relpath(sys.executable) if inside else 'python',
        runner=runner,
        skipped=skipped,
        versions=versions(),
        **charts(runner, progress),
    )
    return path, 100 * figures['All']['pq']
