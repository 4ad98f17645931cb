"""The report of a finished run: one page that needs no other file, no script and no network."""

import base64
import io
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import jinja2
import mmcv
import numpy as np
import torch
from cmt_deeplab.visualization import (
    AssignmentMap,
    PanopticDrawer,
    center_colors,
    draw_assignment,
    matched_colors,
)
from mmengine.runner import Runner
from PIL import Image

from .charts import loss_chart, quality_chart
from .progress import ProgressHook
from .recorder import PredictionRecorder, ValidatedImage

TEMPLATE = 'report.html.j2'
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


def write_report(path: Path, **content: Any) -> None:
    """Fill the template, which lies beside this file, with the content that it names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['data_uri'] = data_uri
    path.write_text(environment.get_template(TEMPLATE).render(content), encoding='utf-8')


def figures(runner: Runner, recorder: PredictionRecorder) -> dict[str, dict[str, dict]]:
    """PQ, SQ and RQ of the last validation, as fractions.

    ``overall`` has the rows All, Things and Stuff, ``per_class`` one for each class.
    """
    meta = runner.val_dataloader.dataset.metainfo
    classes, things = meta['classes'], meta['thing_classes']
    counted = recorder.figures(num_classes=len(classes), num_things_classes=len(things))
    rows = counted.pop('per_class')
    kinds = {name: 'thing' if name in things else 'stuff' for name in classes}
    return dict(
        overall={name: counted[name] for name in ('All', 'Things', 'Stuff')},
        per_class={name: dict(rows[k], kind=kinds[name]) for k, name in enumerate(classes)},
    )


def charts(runner: Runner, progress: ProgressHook) -> dict[str, dict[str, str]]:
    """SVG texts by title: ``charts`` of loss and PQ, and ``parts`` of the loss, small ones."""
    iterations = list(progress.seconds)
    seconds = list(progress.seconds.values())

    def minutes(iteration: float) -> float:
        return float(np.interp(iteration, [0, *iterations], [0, *seconds])) / 60

    losses = {
        name.removeprefix('train/'): buffer.data[0]
        for name, buffer in runner.message_hub.log_scalars.items()
        if 'loss' in name
    }
    quality = f'PQ in percent, {len(runner.val_dataloader.dataset)} validation images'
    large = dict(minutes=minutes, size=(5.2, 3.3), font=10)
    total = 'Training loss, sum of all parts'
    parts = {
        name.removeprefix('loss_').replace('_', ' '): values
        for name, values in losses.items()
        if name.startswith('loss_')
    }
    return dict(
        charts={
            total: loss_chart(total, iterations, losses['loss'], **large),
            quality: quality_chart(quality, progress.validations, minutes=minutes),
        },
        parts={name: loss_chart(name, iterations, values) for name, values in parts.items()},
    )


def example(
    image: ValidatedImage, maps: Sequence[AssignmentMap], *, drawer: PanopticDrawer
) -> dict[str, Mapping[str, np.ndarray]]:
    """``pictures`` and ``layers`` of one image by title, RGB (H, W, 3) uint8, in one set of colors.

    A matched segment has the color of the true segment, a false positive a red border, and a center
    the color of the predicted segment in which it ends.
    """
    picture = mmcv.imread(image.img_path, channel_order='rgb')
    truth, prediction = image.ground_truth, image.prediction
    true_colors = drawer.colors(truth)
    colors = matched_colors(drawer.colors(prediction), true_colors, image.matches)
    num_centers = 1 + max(int(layer.centers.max()) for layer in maps)
    table = center_colors(maps[-1], prediction, colors, num_centers=num_centers)
    drawn = drawer.draw(picture, truth, colors=true_colors, crowds=image.crowds)
    found = drawer.draw(picture, prediction, colors=colors, wrong=image.false_positives)
    return dict(
        pictures={'input': picture, 'ground truth': drawn, 'prediction': found},
        layers={layer.name: draw_assignment(layer, table) for layer in maps},
    )


def examples(runner: Runner, recorder: PredictionRecorder) -> list[dict]:
    """Caption, ``pictures`` and ``layers`` of the best, median and worst images."""
    meta = runner.val_dataloader.dataset.metainfo
    drawer = PanopticDrawer(classes=meta['classes'], num_things_classes=len(meta['thing_classes']))
    return [
        dict(
            example(image, maps, drawer=drawer),
            caption=f'{rank}: PQ {image.quality:.1f} ({Path(image.img_path).name})',
        )
        for rank, image, maps in recorder.examples
    ]


def machine() -> str:
    """The name of the GPU, or the number of cores that this process may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'CPU, {cores} core{"s" * (cores != 1)} ({platform.machine()})'


def versions() -> str:
    """Python and the installed packages that matter, under the names they were installed by."""
    owners = packages_distributions()
    installed = [f'{name} {version(name)}' for name in (owners[p][0] for p in PACKAGES)]
    return ', '.join([f'Python {platform.python_version()}', *installed])
