"""Training curves, drawn by matplotlib as SVG."""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

GROUPS = {'PQ': ('All', '#1c2430'), 'PQ_th': ('Things', '#c8632a'), 'PQ_st': ('Stuff', '#1f8a7a')}
BLUE = '#2f5fb3'
STYLE = {
    'axes.axisbelow': True,
    'axes.edgecolor': '#9aa3af',
    'axes.grid': True,
    'axes.labelcolor': '#5d6878',
    'axes.spines.left': False,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'axes.titlelocation': 'left',
    'axes.titleweight': 'bold',
    'grid.color': '#e6e9ee',
    'xtick.color': '#5d6878',
    'ytick.color': '#5d6878',
    'ytick.left': False,
}
Minutes = Callable[[float], float]  # since the start of training, at an iteration


def smooth(values: Sequence[float], share: float = 0.08) -> np.ndarray:
    """Moving mean over a centered window of ``share`` of the values.

    The window shrinks toward both ends, so that the curve does not lag there.
    """
    values = np.asarray(values, dtype=float)
    place = np.arange(len(values))
    reach = np.minimum(int(len(values) * share / 2), np.minimum(place, place[::-1]))
    return np.array([values[i - r : i + r + 1].mean() for i, r in zip(place, reach)])


def _chart(
    title: str,
    draw: Callable,
    *,
    size: tuple[float, float],
    font: float,
    minutes: Minutes | None = None,
) -> str:
    """The SVG of one chart over iterations, with the minutes under the iterations where given."""
    with rc_context({**STYLE, 'font.size': font, 'axes.titlesize': font}):
        figure = Figure(size, layout='constrained')
        axes = figure.subplots()
        draw(axes)
        axes.set(title=title, xlim=(0, None), ylim=(0, None), xlabel='iteration')
        axes.locator_params('x', nbins=2 * size[0] // 2, integer=True)
        if minutes:
            axes.set_xlabel('iteration, with the minutes since the start')
            axes.xaxis.set_major_formatter(lambda x, _: f'{x:,.0f}\n{minutes(x):.1f} min')
        text = io.StringIO()
        figure.savefig(text, format='svg', transparent=True)
    return text.getvalue()


def loss_chart(
    title: str,
    iterations: Sequence[int],
    values: Sequence[float],
    *,
    minutes: Minutes | None = None,
    size: tuple[float, float] = (2.2, 1.7),
    font: float = 8.5,
) -> str:
    """A loss: its raw values pale, their moving mean on top, and the last mean as a number."""

    def draw(axes) -> None:
        mean = smooth(values)
        axes.plot(iterations, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(iterations, mean, color=BLUE, linewidth=1.8)
        axes.annotate(
            f' {mean[-1]:.2f}',
            (iterations[-1], mean[-1]),
            color=BLUE,
            weight='bold',
            va='center',
            annotation_clip=False,
        )

    return _chart(title, draw, size=size, font=font, minutes=minutes)


def quality_chart(
    title: str, validations: Mapping[int, Mapping[str, float]], *, minutes: Minutes
) -> str:
    """PQ in percent at each validation, over all classes, things and stuff."""

    def draw(axes) -> None:
        for key, (name, color) in GROUPS.items():
            values = [figures[key] for figures in validations.values()]
            label = f'{name} {values[-1]:.1f}'
            axes.plot(list(validations), values, 'o-', color=color, markersize=4, label=label)
        axes.legend(frameon=False, ncols=3, loc='upper left', labelcolor='linecolor')
        axes.set_ylim(0, 100)

    return _chart(title, draw, size=(5.2, 3.3), font=10, minutes=minutes)
