"""Training curves, drawn by matplotlib as SVG."""

import io
from collections.abc import Callable, Mapping, Sequence

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import uniform_filter1d

BLUE = '#2f5fb3'
GROUPS = {'PQ': ('All', '#1c2430'), 'PQ_th': ('Things', '#c8632a'), 'PQ_st': ('Stuff', '#1f8a7a')}
Minutes = Callable[[float], float]  # since the start of training, at an iteration


def _chart(title: str, draw: Callable[[Axes], None], minutes: Minutes | None) -> str:
    """The SVG of one chart over iterations; a large one has the minutes below the iterations."""
    size, font = ((4.6, 3.0), 10) if minutes else ((2.2, 1.7), 8.5)  # inches, points
    sizes = dict.fromkeys(('font.size', 'axes.titlesize', 'axes.labelsize'), font)
    with style.context(['seaborn-v0_8-whitegrid', sizes]):
        figure = Figure(size, layout='constrained')
        axes = figure.subplots()
        draw(axes)
        axes.set_title(title, loc='left', weight='bold')
        axes.set(xlim=(0, None), ylim=(0, None), xlabel='iteration')
        axes.spines[['left', 'right', 'top']].set_visible(False)
        axes.locator_params(nbins=size[0] + 1)
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
) -> str:
    """A loss: its values pale, their moving mean over a twelfth of the run, and its last value."""

    def draw(axes: Axes) -> None:
        mean = uniform_filter1d(values, 1 + len(values) // 12)
        axes.plot(iterations, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(iterations, mean, color=BLUE, linewidth=1.8)
        end = iterations[-1], mean[-1]
        axes.annotate(f' {mean[-1]:.2f}', end, color=BLUE, weight='bold', va='center')

    return _chart(title, draw, minutes)


def quality_chart(
    title: str, validations: Mapping[int, Mapping[str, float]], *, minutes: Minutes
) -> str:
    """PQ in percent at each validation, over all classes, things and stuff."""

    def draw(axes: Axes) -> None:
        for key, (name, color) in GROUPS.items():
            values = [figures[key] for figures in validations.values()]
            label = f'{name} {values[-1]:.1f}'
            axes.plot(list(validations), values, 'o-', color=color, markersize=4, label=label)
        axes.set_ylim(0, 100)
        axes.legend(frameon=False, labelcolor='linecolor')

    return _chart(title, draw, minutes)
