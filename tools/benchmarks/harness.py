"""Measures forms of the same work beside each other: times, peak memory and values.

A form takes the number of a run, prepares its inputs and returns the function to be timed. The
forms run in turn, so that other work on the machine slows all of them, and each ratio is the median
of the ratios of neighboring runs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

Form = Callable[[int], Callable[[], Any]]


@dataclass
class Subject:
    """What a file of this folder gives to :func:`measure`.

    ``forms`` by name, the last one being what the others are compared with. ``values`` gives the
    results of each form after the runs, in equal order: they are compared. ``with_memory`` measures
    the peak memory of one more run of each. ``figures`` are more columns for the row of a form.
    """

    forms: dict[str, Form]
    warm_up: int = 1
    values: Callable[[], dict[str, Sequence[Tensor | float]]] | None = None
    with_memory: bool = False
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of_steps(cls, steps: dict[str, Callable[[], Sequence[Tensor]]]) -> 'Subject':
        """Functions that need no preparation and return the values to compare."""
        forms = {name: lambda run, step=step: step for name, step in steps.items()}
        return cls(
            forms, values=lambda: {name: step() for name, step in steps.items()}, with_memory=True
        )


def measure(subject: Subject, *, runs: int, device: str = 'cpu') -> dict:
    """Rows of milliseconds, ratio to the last form and peak MiB; the difference of values.

    The milliseconds are the median and the 95th percentile over the runs.

    On a CPU a row also has the processor's time, which other work disturbs less.
    """
    on_gpu = device.startswith('cuda')
    taken = np.empty((len(subject.forms), subject.warm_up + runs, 2))  # wall and processor, ms
    for run in range(-subject.warm_up, runs):
        for form, own in zip(subject.forms.values(), taken):
            work = form(run)
            start = _clocks()
            work()
            if on_gpu:
                torch.cuda.synchronize()
            own[subject.warm_up + run] = _clocks() - start
    taken = taken[:, subject.warm_up :]
    ratios = np.median(taken[-1, :, 0] / taken[..., 0], axis=1).tolist()
    rows = []
    slow = np.percentile(taken[..., 0], 95, axis=1).tolist()
    for (name, form), medians, p95, ratio in zip(
        subject.forms.items(), np.median(taken, axis=1).tolist(), slow, ratios
    ):
        row = dict(form=name, median_ms=medians[0], p95_ms=p95, ratio=ratio)
        if not on_gpu:
            row['processor_ms'] = medians[1]
        if subject.with_memory:
            row['peak_mib'] = peak_bytes(form(0), on_gpu) / 2**20
        rows.append({**row, **subject.figures.get(name, {})})
    result = dict(torch=torch.__version__, threads=torch.get_num_threads(), rows=rows)
    if subject.values is not None:
        *others, reference = subject.values().values()
        result['largest_difference'] = max(largest_difference(o, reference) for o in others)
    return result


def _clocks() -> np.ndarray:
    """The milliseconds of the wall clock and of the processor."""
    return 1e3 * np.array([time.perf_counter(), time.process_time()])


def peak_bytes(work: Callable[[], Any], on_gpu: bool) -> int:
    """The peak of torch's allocator within ``work`` over its level before."""
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    events = profile.profiler.kineto_results.events()
    sizes = (event.nbytes() for event in events if event.name() == '[memory]')
    return max(accumulate(sizes, initial=0))


def largest_difference(ours: Sequence[Tensor | float], theirs: Sequence[Tensor | float]) -> float:
    """The largest norm of a difference, relative to the value's norm.

    A value smaller than a thousandth of the largest one counts against that: a gradient that is
    zero but for rounding.
    """
    pairs = [[torch.as_tensor(value).double() for value in pair] for pair in zip(ours, theirs)]
    floor = 1e-3 * max(float(b.norm()) for _, b in pairs) or 1.0
    return max(float((a - b).norm()) / max(float(b.norm()), floor) for a, b in pairs)


def table(result: dict) -> str:
    """The rows as text, one column for each figure."""
    columns = [key for key in result['rows'][-1] if key != 'form']
    lines = [f'{"":36}' + ''.join(f'{column:>14}' for column in columns)]
    for row in result['rows']:
        figures = (row.get(column, float('nan')) for column in columns)
        lines.append(f'{row["form"]:36}' + ''.join(f'{figure:14.2f}' for figure in figures))
    if 'largest_difference' in result:
        lines.append(f'largest relative difference of a value: {result["largest_difference"]:.1e}')
    return '\n'.join(lines)
