"""The parts of a report that a finished run can tell by itself."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import mmcv
import torch
from mmengine.runner import Runner

from .drawer import PanopticDrawer
from .examples import make_example
from .history import read_scalars
from .prediction_recorder import PanopticPredictionRecorder, best_median_worst
from .progress import ProgressLine
from .progress_hook import PanopticProgressHook
from .report import Example, Figures
from .svg_chart import Series, line_chart, smooth

PICTURE_NOTE = (
    'The two best, two middle and two worst of the validation images. A predicted segment that matches one of the ground truth (same '
    'class, IoU above 0.5) has its color; a red border marks one that matches none. Gray stripes are void, light stripes a crowd. Below, '
    'for each layer, every pixel has the color of the cluster center with the largest share of it: the color of the predicted segment in '
    'which that center ends, pale for a center that ends in none, fading to white where the layer is undecided.'
)


def figures(
    runner: Runner, recorder: PanopticPredictionRecorder
) -> tuple[dict[str, Figures], dict[str, Figures]]:
    """PQ, SQ, RQ in percent of the last validation: (``All``, ``Things``, ``Stuff``) and by class name."""
    meta = runner.val_dataloader.dataset.metainfo
    counted = recorder.figures(num_things_classes=len(meta['thing_classes']))

    def percent(row: dict) -> Figures:
        return Figures(100 * row['pq'], 100 * row['sq'], 100 * row['rq'], row.get('n', 1))

    return (
        {name: percent(counted[name]) for name in ('All', 'Things', 'Stuff')},
        {meta['classes'][label]: percent(row) for label, row in counted['per_class'].items()},
    )


def charts(runner: Runner, progress: PanopticProgressHook) -> tuple[list[str], list[str]]:
    """Loss and PQ over the iterations with the minutes below them, and small ones of the parts of the final stage's loss."""
    history = read_scalars(Path(runner.log_dir) / 'vis_data' / 'scalars.json')

    def minutes(iteration: float) -> str:
        return f'{max((seconds for i, seconds in progress.timeline if i <= iteration), default=0) / 60:.1f} min'

    def loss_chart(name: str, title: str, **size: Any) -> str:
        points = history.train.get(name, [])
        lines = [
            Series('raw', points, '#2f5fb3', faint=True),
            Series('', smooth(points, 0.08), '#2f5fb3'),
        ]
        return line_chart(lines, title=title, x_label='iteration', y_label=title, **size)

    quality = [
        Series(name, history.val.get(key, []), color, dots=True)
        for name, key, color in (
            ('All', 'PQ', '#1c2430'),
            ('Things', 'PQ_th', '#c8632a'),
            ('Stuff', 'PQ_st', '#1f8a7a'),
        )
    ]
    title = f'PQ on {len(runner.val_dataloader.dataset)} validation images'
    large = [
        loss_chart('loss', 'training loss, all stages', x_note=minutes),
        line_chart(
            quality,
            title=title,
            x_label='iteration',
            y_label=title,
            y_limits=(0, 100),
            x_note=minutes,
            y_format='.1f',
        ),
    ]
    parts = [name for name in history.train if name.startswith('loss_')]
    return large, [
        loss_chart(name, name[len('loss_') :].replace('_', ' '), width=230, height=160)
        for name in parts
    ]


def examples(runner: Runner, recorder: PanopticPredictionRecorder) -> list[Example]:
    """The picture rows of the best, median and worst images that the recorder has assignment maps of."""
    meta = runner.val_dataloader.dataset.metainfo
    drawer = PanopticDrawer(classes=meta['classes'], num_things_classes=len(meta['thing_classes']))
    chosen = [
        (rank, image)
        for rank, image in best_median_worst(recorder.images)
        if image.position in recorder.assignments
    ]
    line = ProgressLine(name='drawing', total=len(chosen))
    result = []
    for rank, image in chosen:
        picture = mmcv.imread(image.img_path, channel_order='rgb')
        caption = f'{rank}: PQ {image.quality:.1f} ({Path(image.img_path).name})'
        result.append(
            make_example(
                caption,
                picture,
                image.ground_truth,
                image.prediction,
                drawer=drawer,
                crowds=image.crowds,
                assignments=recorder.assignments[image.position],
            )
        )
        line.update(len(result))
    line.clear()
    return result


def machine() -> str:
    """The GPU's name, or the number of cores this process may use."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return f'CPU, {cores} core{"s" * (cores != 1)} ({platform.machine()})'


def versions() -> str:
    """The installed packages that matter; those of the mmdet stack go by two names."""
    stack = (
        ('torch',),
        ('onedl-mmdetection', 'mmdet'),
        ('onedl-mmengine', 'mmengine'),
        ('onedl-mmcv', 'mmcv', 'mmcv-lite'),
        ('numpy',),
    )
    found = [f'Python {platform.python_version()}']
    for names in stack:
        for name in names:
            try:
                found.append(f'{name} {version(name)}')
                break
            except PackageNotFoundError:
                continue
    return ', '.join(found)
