"""Charts of an evaluation, as figures of matplotlib that need no display."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from cmt_deeplab.analysis.lost_pq import CAUSES

from .bootstrap import GROUPS

INK, FOUND = '#1c2430', '#cfd6df'
# of CAUSES; told apart by people who see red and green alike (Okabe and Ito, 2008)
COLORS = dict(zip(CAUSES, ('#D55E00', '#E69F00', '#0072B2', '#56B4E9', '#CC79A7', '#8a94a3')))
SMALL_TABLE = 30  # classes, up to which the cells of a confusion matrix have numbers


def themes() -> list[str]:
    """The names of matplotlib's color maps."""
    return [*colormaps]


def lost_chart(lost: Mapping[str, dict]) -> Figure:
    """One bar per group of classes: PQ, then what each cause takes from 100."""
    figure = Figure((9, 2.6), layout='constrained')
    axes = figure.subplots()
    for row, group in enumerate(GROUPS):
        parts = lost[group]['lost']
        if not (parts_sum := sum(parts.values())) and not lost[group]['true_positives']:
            continue
        left = 0.0
        for name, share in {'PQ': 1 - parts_sum, **parts}.items():
            color = COLORS.get(name, FOUND)
            axes.barh(row, 100 * share, left=left, color=color, label=None if row else name)
            if share > 0.035:
                dark = name in ('missed', 'merged')
                middle = left + 50 * share
                axes.text(
                    *(middle, row, f'{100 * share:.1f}'),
                    ha='center', va='center', color='white' if dark else INK, fontsize=9,
                )  # fmt: skip
            left += 100 * share
    axes.set(xlim=(0, 100), yticks=range(len(GROUPS)), yticklabels=[*GROUPS])
    axes.invert_yaxis()
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.tick_params(axis='y', length=0)
    entries = axes.get_legend_handles_labels()
    figure.legend(*entries, loc='outside upper left', ncols=len(COLORS) + 1, frameon=False)
    return figure


def size_chart(rows: Sequence[Mapping], title: str) -> Figure:
    """PQ by the area of the segments."""
    figure = Figure((4.5, 3), layout='constrained')
    axes = figure.subplots()
    edges = [row['at_most'] for row in rows]
    names = [f'≤ {edge:,}' for edge in edges[:-1]] + [f'> {edge:,}' for edge in edges[-2:-1]]
    quality = [100 * row['All']['pq'] for row in rows]
    bars = axes.bar(names or ['all'], quality, color=COLORS['missed'])
    shown = (f'{pq:.1f}' if row['All']['n'] else '-' for pq, row in zip(quality, rows))
    words = [f'{text}\n{row["segments"]} true' for text, row in zip(shown, rows)]
    axes.bar_label(bars, words, fontsize=8)
    axes.set(title=title, xlabel='pixels of a segment', ylabel='PQ', ylim=(0, 115))
    axes.set_yticks(range(0, 101, 20))
    axes.spines[['top', 'right']].set_visible(False)
    return figure


def calibration_chart(table: Mapping) -> Figure:
    """The share of matches by score, beside the line where both are equal."""
    figure = Figure((4.5, 3), layout='constrained')
    axes = figure.subplots()
    axes.plot((0, 1), (0, 1), color=INK, linewidth=1, linestyle='--')
    for row in table['bins']:
        if row['n']:
            middle = (row['low'] + row['high']) / 2
            width = 0.9 * (row['high'] - row['low'])
            axes.bar(middle, row['matched'], width=width, color=COLORS['missed'])
            axes.text(middle, row['matched'] + 0.02, row['n'], ha='center', fontsize=8)
    axes.set(
        title=f'Scores: calibration error {100 * table["ece"]:.1f} %',
        xlabel='score', ylabel='share that matches', xlim=(0, 1), ylim=(0, 1.1),
    )  # fmt: skip
    axes.spines[['top', 'right']].set_visible(False)
    return figure


def confusion_chart(
    matrix: np.ndarray, names: Sequence[str], title: str, theme: str = 'plasma'
) -> Figure:
    """A confusion matrix in percent of its rows, without classes that do not occur.

    ``names`` are those of the classes; the last row and column are of void.
    """
    occurs = matrix.any(axis=0) | matrix.any(axis=1)
    shown = matrix[np.ix_(occurs, occurs)]
    labels = [name for name, occurs_ in zip((*names, 'void'), occurs) if occurs_]
    share = 100 * shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)
    number, large = len(labels), len(labels) > SMALL_TABLE
    side = 3 + number * (0.16 if large else 0.42)
    figure = Figure((side + 1, side), layout='constrained')
    axes = figure.subplots()
    picture = axes.imshow(share, cmap=theme, vmin=0, vmax=100)
    figure.colorbar(picture, label='% of the true class', fraction=0.035)
    size = 6 if large else 9
    axes.set_xticks(range(number), labels, rotation=90, fontsize=size)
    axes.set_yticks(range(number), labels, fontsize=size)
    axes.set(title=title, xlabel='predicted', ylabel='true')
    if not large:
        for (row, column), value in np.ndenumerate(share):
            if value >= 0.5:
                dark = np.mean(picture.cmap(picture.norm(value))[:3]) < 0.5
                color = 'white' if dark else 'black'
                axes.text(
                    column, row, f'{value:.0f}', ha='center', va='center', color=color, fontsize=8
                )
    return figure
