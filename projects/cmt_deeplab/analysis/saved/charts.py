"""Charts of an evaluation, as figures of matplotlib that need no display."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmt_deeplab.analysis.lost_pq import CAUSES

from .bootstrap import GROUPS

INK, FOUND = '#1c2430', '#cfd6df'
# of CAUSES; told apart by people who see red and green alike (Okabe and Ito, 2008)
COLORS = dict(zip(CAUSES, ('#D55E00', '#E69F00', '#0072B2', '#56B4E9', '#CC79A7', '#8a94a3')))
SMALL_TABLE = 30  # classes, up to which the cells of a confusion matrix have numbers


def _axes(width: float, height: float, **words: Any) -> Axes:
    """The axes of a new figure, of a size in inches, without a frame at the top and the right."""
    axes = Figure((width, height), layout='constrained').subplots()
    axes.spines[['top', 'right']].set_visible(False)
    axes.set(**words)
    return axes


def lost_chart(lost: Mapping[str, dict]) -> Figure:
    """One bar per group of classes: PQ, then what each cause takes from 100."""
    rows = range(len(GROUPS))
    axes = _axes(9, 2.6, xlim=(0, 100), yticks=rows, yticklabels=[*GROUPS], ylim=(2.5, -0.5))
    for row, group in enumerate(GROUPS):
        parts = lost[group]['lost']
        if not (total := sum(parts.values())) and not lost[group]['true_positives']:
            continue
        left = 0.0
        for name, share in {'PQ': 1 - total, **parts}.items():
            color = 'white' if name in ('missed', 'merged') else INK
            label = None if row else name
            bar = axes.barh(row, 100 * share, left=left, color=COLORS.get(name, FOUND), label=label)
            if share > 0.035:
                axes.bar_label(bar, fmt='%.1f', label_type='center', color=color, fontsize=9)
            left += 100 * share
    axes.spines['left'].set_visible(False)
    axes.tick_params(axis='y', length=0)
    entries = axes.get_legend_handles_labels()
    axes.figure.legend(*entries, loc='outside upper left', ncols=len(COLORS) + 1, frameon=False)
    return axes.figure


def size_chart(rows: Sequence[Mapping], title: str) -> Figure:
    """PQ by the area of the segments."""
    axes = _axes(4.5, 3, title=title, xlabel='pixels of a segment', ylabel='PQ', ylim=(0, 115))
    quality = [100 * row['All']['pq'] for row in rows]
    names = [row['name'].replace(' to ', ' to\n') for row in rows]
    bars = axes.bar(names, quality, color=COLORS['missed'])
    words = [
        f'{f"{pq:.1f}" if row["All"]["n"] else "-"}\n{row["segments"]} true'
        for pq, row in zip(quality, rows)
    ]
    axes.bar_label(bars, words, fontsize=8)
    axes.set_yticks(range(0, 101, 20))
    return axes.figure


def calibration_chart(table: Mapping) -> Figure:
    """The share of matches by score, beside the line where both are equal."""
    title = f'Scores: calibration error {100 * table["ece"]:.1f} %'
    words = dict(xlabel='score', ylabel='share that matches', xlim=(0, 1), ylim=(0, 1.1))
    axes = _axes(4.5, 3, title=title, **words)
    axes.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle='--')
    rows = [row for row in table['bins'] if row['n']]
    middles = [(row['low'] + row['high']) / 2 for row in rows]
    width = 0.9 / len(table['bins'])
    bars = axes.bar(middles, [row['matched'] for row in rows], width, color=COLORS['missed'])
    axes.bar_label(bars, [row['n'] for row in rows], fontsize=8)
    return axes.figure


def confusion_chart(
    matrix: np.ndarray, names: Sequence[str], title: str, theme: str = 'plasma'
) -> Figure:
    """A confusion matrix in percent of its rows, without classes that do not occur.

    ``names`` are those of the classes; the last row and column are of void.
    """
    occurs = matrix.any(axis=0) | matrix.any(axis=1)
    shown = matrix[np.ix_(occurs, occurs)]
    labels = np.array([*names, 'void'], object)[occurs]
    share = 100 * shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    number, large = len(labels), len(labels) > SMALL_TABLE
    side, size = 3 + number * (0.16 if large else 0.42), 6 if large else 9
    axes = _axes(side + 1, side, title=title, xlabel='predicted', ylabel='true')
    picture = axes.imshow(share, cmap=theme, vmin=0, vmax=100)
    axes.figure.colorbar(picture, label='% of the true class', fraction=0.035)
    axes.set_xticks(range(number), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(number), labels, fontsize=size)
    for (row, column), value in np.ndenumerate(share):
        if value >= 0.5 and not large:
            dark = np.mean(picture.cmap(picture.norm(value))[:3]) < 0.5
            place = dict(ha='center', va='center', fontsize=8)
            axes.text(column, row, f'{value:.0f}', color='white' if dark else 'black', **place)
    return axes.figure
