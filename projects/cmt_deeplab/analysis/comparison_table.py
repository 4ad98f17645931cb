"""The figures of several models as a table: a row for each figure, a column for each model."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from .compared_model import ComparedModel

ROWS = {  # the key of a figure: the row's name, the factor to its unit, the decimals
    'params': ('parameters at inference, M', 1e-6, 3),
    'trainable': ('trainable parameters, M', 1e-6, 3),
    'input': ('input, pixels', None, None),
    'macs': ('multiply-accumulates, G', 1e-9, 3),
    'step.median_ms': ('training step, ms', 1, 1),
    'step.ratio': ('  relative to the first model', 1, 2),
    'held_mib': ('weights and optimizer, MiB', 1, 1),
    'step.peak_mib': ('  more at the peak of a step, MiB', 1, 1),
    **{
        f'{key}.{figure}': (name.format(work), 1, decimals)
        for key, work in (('network', 'network'), ('merged', 'network and merge'))
        for figure, name, decimals in (
            ('median_ms', '{}, p50, ms', 1),
            ('p95_ms', '{}, p95, ms', 1),
            ('ratio', '  relative to the first model', 2),
            ('per_second', '{}, images per second', 1),
        )
    },
    **{
        f'{figure}{suffix}': (f'{figure} {group}, %', 1, 2)
        for suffix, group in (('', 'all'), ('_th', 'things'), ('_st', 'stuff'))
        for figure in ('PQ', 'SQ', 'RQ')
    },
}
MEANING = (
    'The network is one image through the forward pass up to logits, preprocessing not timed; the '
    'merge makes the panoptic map of the original size. p50 and p95 are percentiles of the wall '
    'time over runs taken in turn. The relative times are medians of the ratios of neighboring '
    'runs. The peak of a step is that of the allocator of torch over its level before the step.'
)


def cells(models: Sequence[ComparedModel]) -> list[list[str]]:
    """The table, with the names of the models first; '-' where there is no figure."""
    table = [['', *(model.name for model in models)]]
    for key, (name, factor, decimals) in ROWS.items():
        values = [model.figures.get(key, '-') for model in models]
        texts = [v if isinstance(v, str) else f'{v * factor:.{decimals}f}' for v in values]
        table.append([name, *texts])
    return table


def as_markdown(models: Sequence[ComparedModel], device: str) -> str:
    """The table in columns, the notes on the models, and what was measured on which machine."""
    head, *rows = cells(models)
    widths = [max(3, *map(len, column)) for column in zip(head, *rows)]
    rule = [':' + '-' * (widths[0] - 1), *('-' * (width - 1) + ':' for width in widths[1:])]
    lines = [
        ' | '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in (head, rule, *rows)
    ]
    notes = dict.fromkeys(f'* {model.name}: {note}' for model in models for note in model.notes)
    listed = [*notes, ''] if notes else []
    return '\n'.join([*(f'| {line} |' for line in lines), '', *listed, MEANING, machine(device)])


def machine(device: str) -> str:
    """What the figures were measured on, in one line."""
    version = f'torch {torch.__version__}'
    if device.startswith('cuda'):
        return f'{torch.cuda.get_device_name(device)}, {version}'
    info = Path('/proc/cpuinfo')
    named = re.search(r'model name\s*: (.+)', info.read_text()) if info.is_file() else None
    name = named[1] if named else platform.processor()
    return f'{os.cpu_count()} cores of {name}, {torch.get_num_threads()} thread(s), {version}'
