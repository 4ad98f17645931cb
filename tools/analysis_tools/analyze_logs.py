"""Curves and times of trainings from their logs, with the tasks and flags of mmdet's tool.

    python tools/analysis_tools/analyze_logs.py plot_curve LOG [LOG ...] --keys KEY --out FILE.png
    python tools/analysis_tools/analyze_logs.py cal_train_time LOG [LOG ...]

LOG is a work dir, whose runs are joined where they were resumed, or one JSON file of its folder
TIMESTAMP/vis_data. KEY is any name in the log: coco_panoptic/PQ, or PQ alone, loss, lr, time.
"""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import UserError, output_file, report_user_errors
from cmt_deeplab_cli.light import without_init

with without_init('cmt_deeplab', 'cmt_deeplab.reports'):
    from cmt_deeplab.reports.history import read_log


@dataclass(frozen=True)
class Log:
    """What was logged of one run, by iteration."""

    name: str
    training: Mapping[int, Mapping]
    validation: Mapping[int, Mapping]

    def curve(self, key: str) -> tuple[list[int], list[float], bool]:
        """Iterations and values of a key, and whether it is one of validations.

        Raises:
            UserError: nothing in the log has the key.
        """
        rows = {True: self.validation, False: self.training}  # the time is that of training
        names = {name: kind for kind in rows for row in rows[kind].values() for name in row}
        if key not in names:
            full = [name for name in names if name.rpartition('/')[2] == key]
            if len(full) != 1:
                raise UserError(
                    f'{self.name} has no key {key!r}: give one of {", ".join(sorted(names))}.'
                )
            key = full[0]
        kind = names[key]
        points = {step: row[key] for step, row in rows[kind].items() if key in row}
        return list(points), list(points.values()), kind


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tasks = parser.add_subparsers(dest='task', required=True)
    plot = tasks.add_parser('plot_curve', help='draw values over iterations')
    time = tasks.add_parser('cal_train_time', help='seconds per iteration')
    for task in (plot, time):
        task.add_argument('json_logs', nargs='+', metavar='LOG', help='work dir or JSON file')
    plot.add_argument('--keys', nargs='+', default=['coco_panoptic/PQ'], metavar='KEY')
    plot.add_argument('--title', help='of the figure')
    plot.add_argument('--legend', nargs='+', help='a name for each curve: all keys of a log first')
    plot.add_argument('--backend', help='of matplotlib')
    plot.add_argument('--style', help='of matplotlib')
    plot.add_argument('--out', type=output_file, metavar='FILE', help='.png, .pdf or .svg')
    time.add_argument(
        '--include-outliers',
        action='store_true',
        help='count the first value after each start and validation, too',
    )
    return parser.parse_args()


def read(path: str) -> Log:
    """The log of a work dir or of one file."""
    files = sorted(Path(path).glob('*/vis_data/scalars.json')) if Path(path).is_dir() else []
    if not files and not Path(path).is_file():
        raise UserError(
            f'{path} is no log: give a work dir with TIMESTAMP/vis_data/scalars.json, or that file.'
        )
    log = Log(path, *read_log(files or [Path(path)]))
    if not (log.training or log.validation):
        raise UserError(f'{path} holds no iteration and no validation yet: train for longer.')
    return log


def plot_curve(args: argparse.Namespace, logs: list[Log]) -> None:
    import matplotlib.pyplot as plt

    if args.backend or args.out:
        plt.switch_backend(args.backend or 'agg')
    elif plt.get_backend().lower() == 'agg':
        raise UserError('No window can be opened here: write the curves to a file by --out FILE.')
    if args.style:
        plt.style.use(args.style)
    names = args.legend or [
        ': '.join([log.name] * (len(logs) > 1) + [key] * (len(args.keys) > 1 or len(logs) == 1))
        for log in logs
        for key in args.keys
    ]
    if len(names) != len(logs) * len(args.keys):
        raise UserError(
            f'--legend has {len(names)} names, but there are {len(logs) * len(args.keys)} curves.'
        )
    figure, axes = plt.subplots(figsize=(7, 4.2), layout='constrained')
    curves = [(log, key) for log in logs for key in args.keys]
    for (log, key), name in zip(curves, names):
        steps, values, validated = log.curve(key)
        marks = dict(marker='o', markersize=4) if validated else {}
        axes.plot(steps, values, label=name, linewidth=1.5, **marks)
        best = max(values) if validated else min(values)
        extreme = 'highest' if validated else 'lowest'
        print(
            f'{log.name}, {key}: {values[-1]:.4g} at iteration {steps[-1]}, {extreme} {best:.4g} '
            f'at iteration {steps[values.index(best)]}'
        )
    axes.set(xlabel='iteration', xlim=(0, None), ylabel=', '.join(args.keys))
    axes.xaxis.set_major_formatter('{x:,.0f}')
    axes.spines[['right', 'top']].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    if args.title:
        axes.set_title(args.title, loc='left', weight='bold')
    if not args.out:
        plt.show()
        return
    try:
        figure.savefig(args.out, dpi=160)
    except ValueError as error:
        raise UserError(f'--out {args.out} names no picture: let it end in .png.') from error
    print(f'save curve to: {args.out}')


def cal_train_time(args: argparse.Namespace, logs: list[Log]) -> None:
    import numpy as np

    for log in logs:
        steps, seconds, _ = log.curve('time')
        ends = np.searchsorted(steps, list(log.validation), side='right')
        stretches = [
            (rows[0], rows[-1], values if args.include_outliers else values[1:])
            for rows, values in zip(np.split(steps, ends), np.split(seconds, ends))
            if len(values) > 1 or (len(values) and args.include_outliers)
        ]
        print(f'{"-" * 5}Analyze train time of {log.name}{"-" * 5}')
        if not stretches:
            raise UserError(
                f'{log.name} has too few logged values between validations: train for longer, log '
                'more often (default_hooks.logger.interval), or use --include-outliers.'
            )
        means = [values.mean() for _, _, values in stretches]
        for word, place in (('slowest', np.argmax(means)), ('fastest', np.argmin(means))):
            first, last, _ = stretches[place]
            print(
                f'{word} between validations: logged at iterations {first} to {last}, average time '
                f'is {means[place]:.4f} s/iter'
            )
        print(f'time std over these stretches is {np.std(means):.4f}')
        every = np.concatenate([values for _, _, values in stretches])
        loading = np.mean([row.get('data_time', 0) for row in log.training.values()])
        print(f'average iter time: {every.mean():.4f} s/iter, of which loading {loading:.4f}')
        hours = every.mean() * steps[-1] / 3600
        print(f'iterations of the log: {steps[-1]}, about {hours:.2f} h\n')


@report_user_errors()
def main() -> None:
    args = parse_args()
    logs = [read(path) for path in args.json_logs]
    dict(plot_curve=plot_curve, cal_train_time=cal_train_time)[args.task](args, logs)


if __name__ == '__main__':
    main()
