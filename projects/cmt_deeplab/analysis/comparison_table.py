"""The figures of several models as a table: a row for each figure, a column for each model."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

from .compared_model import ComparedModel

# the row's name, the figure's key, its factor and its decimals
ROWS = (
    ('parameters at inference, M', 'params', 1e-6, 3),
    ('trainable parameters, M', 'trainable', 1e-6, 3),
    ('input, pixels', 'input', None, None),
    ('multiply-accumulates, G', 'macs', 1e-9, 3),
    ('training step, ms', 'step.median_ms', 1, 1),
    ('  relative to the first model', 'step.ratio', None, 2),
    ('weights and optimizer, MiB', 'held_mib', 1, 1),
    ('  more at the peak of a step, MiB', 'step.peak_mib', 1, 1),
    ('network, p50, ms', 'network.median_ms', 1, 1),
    ('network, p95, ms', 'network.p95_ms', 1, 1),
    ('  relative to the first model', 'network.ratio', None, 2),
    ('network, images per second', 'network.median_ms', None, 1),
    ('network and merge, p50, ms', 'merged.median_ms', 1, 1),
    ('network and merge, p95, ms', 'merged.p95_ms', 1, 1),
    ('  relative to the first model', 'merged.ratio', None, 2),
    ('network and merge, images per second', 'merged.median_ms', None, 1),
    *(
        (f'{figure} {group}, %', f'{figure}{suffix}', 1, 2)
        for group, suffix in (('all', ''), ('things', '_th'), ('stuff', '_st'))
        for figure in ('PQ', 'SQ', 'RQ')
    ),
)
MEANING = (
    'The network is one image through the forward pass up to logits, preprocessing not timed; the '
    'merge makes the panoptic map of the original size. p50 and p95 are percentiles of the wall '
    'time over runs taken in turn. The relative times are medians of the ratios of neighboring '
    'runs. The peak of a step is that of the allocator of torch over its level before the step.'
)


def cells(models: Sequence[ComparedModel]) -> list[list[str]]:
    """The table, with the names of the models first; '-' where there is no figure."""
    table = [['', *(model.name for model in models)]]
    for name, key, factor, decimals in ROWS:
        row = [name]
        for model in models:
            value = model.figures.get(key)
            if value is not None and name.endswith('per second'):
                value = 1e3 / value
            elif value is not None and factor is not None:
                value *= factor
            text = value if isinstance(value, str) else '-' if value is None else None
            row.append(text or f'{value:.{decimals}f}')
        table.append(row)
    return table


def notes(models: Sequence[ComparedModel]) -> list[str]:
    lines = []
    for model in models:
        lines += [f'{model.name}: {note}' for note in dict.fromkeys(model.notes)]
    return lines


def as_text(models: Sequence[ComparedModel]) -> str:
    table = cells(models)
    widths = [2 + max(map(len, column)) for column in zip(*table)]
    lines = [
        row[0].ljust(widths[0]) + ''.join(map(str.rjust, row[1:], widths[1:])) for row in table
    ]
    return '\n'.join([*lines, '', *notes(models), MEANING])


def as_markdown(models: Sequence[ComparedModel]) -> str:
    header, *rows = cells(models)
    lines = [header, ['---', *['---:'] * len(models)], *rows]
    table = [f'| {" | ".join(cell.strip() for cell in line)} |' for line in lines]
    listed = [f'* {line}' for line in notes(models)]
    return '\n'.join([*table, '', *listed, *[''] * bool(listed), MEANING]) + '\n'


def machine(device: str) -> str:
    """What the figures were measured on, in one line."""
    if device.startswith('cuda'):
        return f'{torch.cuda.get_device_name(device)}, torch {torch.__version__}'
    names = (
        [
            line.partition(':')[2].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ]
        if Path('/proc/cpuinfo').is_file()
        else [platform.processor()]
    )
    return (
        f'{len(names)} cores of {names[0]}, {torch.get_num_threads()} thread(s), '
        f'torch {torch.__version__}'
    )
