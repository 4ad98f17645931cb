"""The tables and pictures of the finished runs, put into a page of text.

A page keeps its own words: only what stands between the comments ``<!-- study NAME -->`` and
``<!-- end of NAME -->`` is written anew, for each plan NAME. A plan that the page lacks comes at
its end.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from textwrap import fill

import numpy as np
from cmt_deeplab.analysis.learning_curve import COLORS
from matplotlib.figure import Figure
from study_plan import Plan, Row

NUM_DRAWS = 10_000
Runs = dict[int, dict]  # the results of a row by their seed


def write_report(plans: Sequence[Plan], page: Path) -> None:
    """Write the parts of the plans, and their pictures into ``pictures/`` beside the page."""
    text = page.read_text(encoding='utf-8') if page.is_file() else ''
    for plan in plans:
        name = plan.path.stem
        picture = page.parent / 'pictures' / f'study_{name}.png'
        part = f'<!-- study {name} -->\n\n{section(plan, picture)}\n\n<!-- end of {name} -->'
        old = re.compile(f'<!-- study {name} -->.*<!-- end of {name} -->', re.DOTALL)
        text, found = old.subn(lambda match, part=part: part, text)
        text += '' if found else f'\n## {name}\n\n{part}\n'
    page.write_text(text, encoding='utf-8')


def section(plan: Plan, picture: Path) -> str:
    """Tables, picture and what is missing of a plan, as Markdown.

    One seed has no spread: trials with one are a table of their figures alone.
    """
    results = plan.results()
    rows = {row: runs_of(results, row) for row in plan.rows}
    reached = {row: runs for row, runs in rows.items() if runs}
    if not reached:
        return 'Not reached: no run of this plan has ended.'
    figures, differences = tables(reached, plan)
    parts = [figures, origin(reached)]
    if plan.seeds > 1:
        title = draw(reached, picture)
        parts.insert(1, differences)
        parts.append(f'![{title}](pictures/{picture.name})')
    missing = [
        f'{row.name} ({n} of {plan.seeds})' for row in rows if (n := len(rows[row])) < plan.seeds
    ]
    if missing:
        parts.append(f'Not reached, finished seeds in parentheses: {", ".join(missing)}.')
    return '\n\n'.join(part if part[0] in '|!' else fill(part, 100) for part in parts)


def runs_of(results: Sequence[dict], row: Row) -> Runs:
    """The results of a row at its present length, the last one of each seed."""
    return {
        one['seed']: one
        for one in results
        if one['row'] == row.name and one['iterations'] == row.iterations
    }


def tables(rows: dict[Row, Runs], plan: Plan) -> tuple[str, str]:
    """The figures of the rows, and their differences to the baseline.

    They are compared at the end, and after as many CPU seconds as the fastest run took.
    """
    base = next((runs for row, runs in rows.items() if row.name == plan.baseline), {})
    seconds = min(last(run, 'processor_s') for runs in rows.values() for run in runs.values())
    at_end = lambda run: last(run, 'PQ')
    in_time = lambda run: np.interp(seconds, points(run, 'processor_s'), points(run, 'PQ'))
    per_1000 = lambda run: 1000 * last(run, 'processor_s') / run['iterations']
    figures = [['', 'seeds', 'PQ', 'things', 'stuff', 'CPU s per 1000 iterations']]
    head = [
        '',
        f'PQ to {plan.baseline}',
        'ahead in',
        f'PQ after {seconds:.0f} CPU s',
        f'to {plan.baseline}',
    ]
    differences = [head]
    for row, runs in rows.items():
        parts = [mean(runs, partial(last, key=key)) for key in ('PQ', 'PQ_th', 'PQ_st')]
        figures.append([row.name, str(len(runs)), *parts, mean(runs, per_1000, decimals=0)])
        end, early = (difference(runs, base, value) for value in (at_end, in_time))
        differences.append([row.name, *end, mean(runs, in_time), early[0]])
    return tuple(map(as_markdown, (figures, differences)))


def as_markdown(table: list[list[str]]) -> str:
    head, *rows = (f'| {" | ".join(line)} |' for line in table)
    return '\n'.join([head, '|:--' + '|--:' * (len(table[0]) - 1) + '|', *rows])


def mean(runs: Runs, value: Callable[[dict], float], decimals: int = 2) -> str:
    """Mean and standard deviation over the seeds."""
    values = [value(run) for run in runs.values()]
    spread = f' ± {np.std(values, ddof=1):.{decimals}f}' if len(values) > 1 else ''
    return f'{np.mean(values):.{decimals}f}{spread}'


def difference(runs: Runs, base: Runs, value: Callable[[dict], float]) -> tuple[str, str]:
    """The mean difference of equal seeds with its 95 % interval, and in how many it is positive.

    The interval is that of the percentile bootstrap over the seeds.
    """
    gains = [value(run) - value(base[seed]) for seed, run in runs.items() if seed in base]
    if runs is base or not gains:
        return '', ''
    text = f'{np.mean(gains):+.2f}'
    if len(gains) > 1:
        draws = np.random.default_rng(0).choice(gains, (NUM_DRAWS, len(gains)))
        low, high = np.quantile(draws.mean(axis=1), (0.025, 0.975))
        text += f' [{low:+.1f}, {high:+.1f}]'
    return text, f'{sum(gain > 0 for gain in gains)} of {len(gains)}'


def points(run: dict, key: str) -> list[float]:
    """The values of a curve, from 0 at its beginning."""
    return [0.0, *(point[key] for point in run['curve'])]


def at_equal_iterations(runs: Runs, key: str) -> np.ndarray:
    """The values (runs, points) of all curves at the iterations of the first one."""
    iterations = points(next(iter(runs.values())), 'iteration')
    return np.array(
        [np.interp(iterations, points(run, 'iteration'), points(run, key)) for run in runs.values()]
    )


def last(run: dict, key: str) -> float:
    return run['curve'][-1][key]


def origin(rows: dict[Row, Runs]) -> str:
    runs = [run for runs in rows.values() for run in runs.values()]
    commits = sorted({commit for run in runs for commit in run['commits']})
    dates = sorted({run['date'] for run in runs})
    between = dates[0] if len(dates) == 1 else f'{dates[0]} to {dates[-1]}'
    return f'{len(runs)} runs, {between}, at commit {", ".join(commits)}.'


def draw(rows: dict[Row, Runs], path: Path) -> str:
    """Draw the curves of the rows, or where colors are too few their ends; gives a title."""
    many = len(rows) > len(COLORS)
    height = 0.9 + 0.3 * len(rows) if many else 4.2
    figure = Figure((9.6, height), layout='constrained', dpi=110)
    (draw_ends if many else draw_curves)(rows, figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return 'PQ at the end' if many else 'PQ over iterations and over CPU seconds'


def draw_ends(rows: dict[Row, Runs], figure: Figure) -> None:
    """PQ at the end: a line for each row with its seeds and their mean."""
    axes = figure.subplots()
    for place, runs in enumerate(rows.values()):
        values = [last(run, 'PQ') for run in runs.values()]
        axes.plot(values, [place] * len(values), 'o', color=COLORS[0], markersize=5)
        axes.plot(np.mean(values), place, '|', color=COLORS[1], markersize=14, markeredgewidth=2)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel='PQ at the end: the seeds, and their mean as a bar')
    axes.spines[['right', 'top']].set_visible(False)
    axes.grid(alpha=0.3)


def draw_curves(rows: dict[Row, Runs], figure: Figure) -> None:
    """PQ over iterations and over CPU seconds: the mean of the seeds and their range."""
    axes = figure.subplots(1, 2, sharey=True)
    for (row, runs), color in zip(rows.items(), COLORS):
        quality = at_equal_iterations(runs, 'PQ')
        low, high = quality.min(axis=0), quality.max(axis=0)
        for panel, key in zip(axes, ('iteration', 'processor_s')):
            place = at_equal_iterations(runs, key).mean(axis=0)
            panel.plot(place, quality.mean(axis=0), 'o-', color=color, markersize=3, label=row.name)
            panel.fill_between(place, low, high, color=color, alpha=0.13)
    axes[0].set(xlabel='iterations', ylabel='PQ: mean and range of the seeds')
    axes[1].set(xlabel='CPU seconds in training steps')
    for panel in axes:
        panel.set(xlim=(0, None), ylim=(0, None))
        panel.spines[['right', 'top']].set_visible(False)
        panel.grid(alpha=0.3)
    axes[0].legend(frameon=False, loc='lower right')
