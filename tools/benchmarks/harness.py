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
# The half width of the interval that holds the true median in 95 of 100 cases, in interquartile
# ranges times the root of the number of runs: McGill, Tukey and Larsen, Variations of Box Plots,
# The American Statistician 32 (1978).
NOTCH = 1.57
LARGEST_ERROR = 0.15  # a ratio is meaningless if this interval is wider than this share of it


@dataclass
class Subject:
    """What a benchmark gives to :func:`measure`.

    ``forms`` are by name; ``peers`` names those that the others are compared with, by default the
    last one. ``beyond`` names for a form another one whose time is taken off, run by run.
    ``values`` gives the results of each form after the runs, in equal order: they are compared.
    ``with_memory`` measures the peak memory of one more run of each. ``figures`` are more columns
    for the row of a form.
    """

    forms: dict[str, Form]
    title: str = ''
    peers: Sequence[str] = ()
    beyond: dict[str, str] = field(default_factory=dict)
    runs: int = 11
    warm_up: int = 1
    values: Callable[[], dict[str, Sequence[Tensor | float]]] | None = None
    with_memory: bool = False
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    @classmethod
    def of_steps(cls, steps: dict[str, Callable[[], Sequence[Tensor]]], **rest: Any) -> 'Subject':
        """Functions that need no preparation and return the values to compare."""
        forms = {name: lambda run, step=step: step for name, step in steps.items()}
        return cls(
            forms,
            values=lambda: {name: step() for name, step in steps.items()},
            with_memory=True,
            **rest,
        )


def measure(
    subject: Subject, *, runs: int | None = None, device: str = 'cpu', clock: str = 'wall'
) -> dict:
    """Rows of milliseconds and peak MiB of each form, and their ratios to those of each peer.

    The milliseconds are the median and the 95th percentile over the runs, and on a CPU the median
    of the processor's time, which other work disturbs less; ``clock`` ('wall' or 'processor') says
    of which the ratios are. A ratio is that of the peer to the form, and its error a share of it.
    """
    runs, on_gpu = runs or subject.runs, device.startswith('cuda')
    taken = np.empty((len(subject.forms), subject.warm_up + runs, 2))  # wall and processor, ms
    for run in range(-subject.warm_up, runs):
        for form, own in zip(subject.forms.values(), taken):
            work = form(run)
            start = _clocks()
            work()
            if on_gpu:
                torch.cuda.synchronize()
            own[subject.warm_up + run] = _clocks() - start
    times = dict(zip(subject.forms, taken[:, subject.warm_up :]))
    times |= {name: times[name] - times[base] for name, base in subject.beyond.items()}
    peers = subject.peers or [*subject.forms][-1:]
    rows = []
    for name in subject.forms:
        if name in subject.beyond.values():
            continue
        wall, processor = np.median(times[name], axis=0).tolist()
        row = dict(form=name, median_ms=wall, p95_ms=float(np.percentile(times[name][:, 0], 95)))
        if not on_gpu:
            row['processor_ms'] = processor
        if subject.with_memory:
            row['peak_mib'] = peak_bytes(subject.forms[name](0), on_gpu) / 2**20
        chosen = int(clock == 'processor')
        row['ratios'] = {
            peer: _ratio(times[peer][:, chosen], times[name][:, chosen]) for peer in peers
        }
        rows.append({**row, **subject.figures.get(name, {})})
    result = dict(title=subject.title, runs=runs, peers=[*peers], rows=rows)
    result['figures'] = subject.figures
    if subject.values is not None:
        *others, reference = subject.values().values()
        result['largest_difference'] = max(largest_difference(o, reference) for o in others)
    return result


def _clocks() -> np.ndarray:
    """The milliseconds of the wall clock and of the processor."""
    return 1e3 * np.array([time.perf_counter(), time.process_time()])


def _ratio(peer: np.ndarray, own: np.ndarray) -> dict[str, float]:
    low, median, high = np.percentile(peer / own, (25, 50, 75)).tolist()
    error = NOTCH * (high - low) / len(own) ** 0.5
    return dict(median=median, error=error / abs(median))


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


HEADER = (
    *('task', 'ours', 'against', 'ours, ms', 'the other, ms', 'times as fast', 'error'),
    *('ours, MiB', 'the other, MiB', 'memory'),
)


def markdown(results: Sequence[dict]) -> str:
    """The rows of several results of :func:`measure`, each beside its peers, as Markdown.

    ``error`` is that of the ratio of the times, which is left out where it says nothing.
    """
    lines = [HEADER, ['---'] * 3 + ['---:'] * (len(HEADER) - 3)]
    for result in results:
        by_name = {row['form']: row for row in result['rows']}
        for row in result['rows']:
            for peer in result['peers'] if row['form'] not in result['peers'] else ():
                lines.append(_cells(result['title'], row, by_name[peer]))
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def remarks(results: Sequence[dict]) -> str:
    """The other figures of the rows, and how far values that have to be equal differ, as a list."""
    lines = []
    for result in results:
        for key in dict.fromkeys(key for figures in result['figures'].values() for key in figures):
            values = (f'{form} {figures[key]:.4g}' for form, figures in result['figures'].items())
            lines.append(f'* {result["title"]}: {key}: {", ".join(values)}')
        if 'largest_difference' in result:
            difference = f'{result["largest_difference"]:.1e}'
            lines.append(
                f'* {result["title"]}: largest relative difference of a value {difference}'
            )
    return '\n'.join(lines)


def _cells(title: str, row: dict, peer: dict) -> list[str]:
    ratio, memory = row['ratios'][peer['form']], ['', '', '']
    if 'peak_mib' in row:
        peaks = row['peak_mib'], peer['peak_mib']
        memory = [*(f'{peak:.1f}' for peak in peaks), f'{peaks[0] / max(peaks[1], 1e-9):.2f}']
    says = ratio['error'] <= LARGEST_ERROR
    return [
        *(title, row['form'], peer['form']),
        *(f'{side["median_ms"]:.2f}' for side in (row, peer)),
        f'{ratio["median"]:.2f}' if says else 'meaningless',
        f'{100 * ratio["error"]:.0f} %',
        *memory,
    ]
