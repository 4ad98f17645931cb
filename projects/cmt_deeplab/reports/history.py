"""The logged values of a run, read from its work dir, and their curves as SVG."""

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from cmt_deeplab.errors import UserError

EARLY = 'early_'  # begins the names of figures of a part of the validation images
BLUE = '#2f5fb3'
GROUPS = {'PQ': ('All', '#1c2430'), 'PQ_th': ('Things', '#c8632a'), 'PQ_st': ('Stuff', '#1f8a7a')}


def read_log(files: Iterable[Path]) -> tuple[dict[int, dict], dict[int, dict]]:
    """The rows of training and those of validation in log files of mmengine, by iteration.

    The files are the parts of one run in the order of time. Where a part begins, it takes the place
    of what earlier ones logged from there on.

    Raises:
        UserError: a file is no log.
    """
    training: dict[int, dict] = {}
    validation: dict[int, dict] = {}
    for file in files:
        lines = file.read_text(encoding='utf-8').splitlines()
        if lines and not lines[-1].endswith('}'):
            lines.pop()  # it is being written, or its process was killed
        try:
            rows = [json.loads(line) for line in lines]
            first = next((row['step'] for row in rows if 'loss' in row), None)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f'{file} is no log of mmengine ({type(error).__name__}: {error}): give a '
                'vis_data/scalars.json of a work dir, or the work dir itself.'
            ) from error
        for earlier in (training, validation) if first is not None else ():
            for step in [step for step in earlier if step >= first]:
                del earlier[step]
        last = 0
        for row in rows:
            if 'loss' in row:
                last = row['step']
                training[last] = row
            elif any('/' in name for name in row):
                validation[max(last, row['step'])] = row  # steps of a loop by epochs are epochs
    return training, validation


def logged(work_dir: Path) -> tuple[dict[int, dict], dict[str, dict[int, dict]]]:
    """The rows of training in all parts of a work dir, and those that have PQ by their prefix.

    The prefix, that of the metric or of early figures, is taken from the names in the latter.
    """
    training, validation = read_log(sorted(work_dir.glob('*/vis_data/scalars.json')))
    figures: dict[str, dict[int, dict]] = {}
    for step, row in validation.items():
        for prefix in [name[:-3] for name in row if name.endswith('/PQ')]:
            figures.setdefault(prefix, {})[step] = {
                name.rpartition('/')[2]: value
                for name, value in row.items()
                if name.startswith(f'{prefix}/')
            }
    return training, figures


def _chart(title: str, draw: Callable, *, small: bool) -> str:
    """The SVG of one chart over iterations."""
    from matplotlib import style
    from matplotlib.figure import Figure

    size, font = ((2.2, 1.7), 8.5) if small else ((4.6, 3.0), 10)  # inches, points
    sizes = dict.fromkeys(('font.size', 'axes.titlesize', 'axes.labelsize'), font)
    with style.context(['seaborn-v0_8-whitegrid', sizes]):
        figure = Figure(size, layout='constrained')
        axes = figure.subplots()
        draw(axes)
        axes.update_datalim([(0, 0)])
        axes.autoscale_view()  # so that a line at the top has a margin
        axes.set_title(title, loc='left', weight='bold')
        axes.set(xlim=(0, None), ylim=(0, None), xlabel='iteration')
        axes.spines[['left', 'right', 'top']].set_visible(False)
        axes.locator_params(nbins=size[0] + 1)
        axes.xaxis.set_major_formatter('{x:,.0f}')
        text = io.StringIO()
        figure.savefig(text, format='svg', transparent=True)
    return text.getvalue()


def value_chart(
    title: str,
    iterations: Sequence[int],
    values: Sequence[float],
    *,
    small: bool = False,
    smooth: bool = True,
) -> str:
    """A value and what it is at the end; a smooth one is pale beside its moving mean.

    The mean is that over a twelfth of the run.
    """
    from scipy.ndimage import uniform_filter1d

    def draw(axes) -> None:
        strong = values
        if smooth:
            strong = uniform_filter1d(values, 1 + len(values) // 12)
            axes.plot(iterations, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(iterations, strong, 'o-', color=BLUE, linewidth=1.8, markersize=4, markevery=[-1])
        end = iterations[-1], strong[-1]
        text = f' {strong[-1]:.2f}' if smooth else f' {strong[-1]:.2g}'
        axes.annotate(text, end, color=BLUE, weight='bold', va='center')

    return _chart(title, draw, small=small)


def quality_chart(title: str, validations: Mapping[int, Mapping[str, float]]) -> str:
    """PQ in percent at each validation, over all classes, things and stuff."""

    def draw(axes) -> None:
        for key, (name, color) in GROUPS.items():
            values = [figures[key] for figures in validations.values()]
            label = f'{name} {values[-1]:.1f}'
            axes.plot(list(validations), values, 'o-', color=color, markersize=4, label=label)
        axes.set_ylim(0, 100)
        axes.legend(frameon=False, labelcolor='linecolor')

    return _chart(title, draw, small=False)


def curves(
    training: Mapping[int, dict], validation: Mapping[str, Mapping[int, dict]]
) -> tuple[dict[str, str], dict[str, str]]:
    """SVG texts by title: large ones of loss and PQ, small ones of all else that was logged."""
    large, small = {}, {}
    steps = list(training)

    def values(name: str) -> list[float]:
        return [row.get(name, float('nan')) for row in training.values()]

    if training:
        title = 'Training loss, sum of all parts'
        large[title] = value_chart(title, steps, values('loss'))
        row = training[steps[-1]]
        for name in (name for name in row if name.startswith('loss_')):
            title = name.removeprefix('loss_').replace('_', ' ')
            small[title] = value_chart(title, steps, values(name), small=True)
        rate = 'base_lr' if 'base_lr' in row else 'lr'
        if rate in row:
            title = 'learning rate'
            small[title] = value_chart(title, steps, values(rate), small=True, smooth=False)
    for prefix, rows in sorted(validation.items(), key=lambda item: item[0].startswith(EARLY)):
        which = f'{prefix.split("_")[1]} of ' if prefix.startswith(EARLY) else ''
        title = f'PQ in percent on {which}the validation images'
        large[title] = quality_chart(title, rows)
    return large, small
