"""Generate panoptic scenes, train a small CMT-DeepLab on them, evaluate it and write a page about it: bash tools/quickstart.sh"""

import argparse
import contextlib
import io
import math
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

from cmt_deeplab.errors import MissingFileError, UserError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / 'projects'))

DEFAULT_CONFIG = ROOT / 'configs' / 'cmt_deeplab' / 'cmt-deeplab_tiny_shapes.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        default='work_dirs/quickstart',
        help='folder of data, logs, checkpoint and report (default: %(default)s)',
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=10.0,
        help='training ends after this time at the latest: a slow machine skips iterations (default: %(default)s)',
    )
    parser.add_argument('--iters', type=int, help="iterations (default: the config's)")
    parser.add_argument(
        '--train-images',
        type=int,
        default=2000,
        help='generated training images (default: %(default)s)',
    )
    parser.add_argument(
        '--val-images',
        type=int,
        default=100,
        help='generated validation images (default: %(default)s)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='of the data, the weights and the order of images (default: %(default)s)',
    )
    parser.add_argument(
        '--config', default=str(DEFAULT_CONFIG), help='any config on the generated data set'
    )
    args = parser.parse_args()
    for name in ('minutes', 'iters', 'train_images', 'val_images'):
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            parser.error(f'--{name.replace("_", "-")} must be positive, not {getattr(args, name)}')
    if args.seed < 0:
        parser.error(f'--seed must not be negative, not {args.seed}')
    return args


def make_data(args: argparse.Namespace, root: Path) -> None:
    """The ``quick`` preset; no scene of the validation split is one of the training split."""
    from cmt_deeplab.datasets import write_shapes
    from cmt_deeplab.visualization import ProgressLine

    line = ProgressLine(name='generating images', total=args.train_images + args.val_images)
    write_shapes(
        root,
        preset='quick',
        num_train=args.train_images,
        num_val=args.val_images,
        seed=args.seed,
        progress=lambda done, total: line.update(done),
    )
    line.finish(f'{args.train_images} for training, {args.val_images} for validation')


def move_paths(entry: Any, old: str, new: str) -> Any:
    """The config entry with every path under ``old`` moved under ``new``."""
    if isinstance(entry, dict):
        for key, value in entry.items():
            entry[key] = move_paths(value, old, new)
    elif isinstance(entry, (list, tuple)):
        return type(entry)(move_paths(value, old, new) for value in entry)
    elif isinstance(entry, str) and entry.startswith(old):
        return new + entry[len(old) :]
    return entry


def load_config(args: argparse.Namespace, data: Path):
    """The config with data, work folder, seed and number of iterations of this run."""
    from mmengine.config import Config

    if not Path(args.config).is_file():
        raise MissingFileError(
            f'The config {args.config} does not exist: leave --config out for {DEFAULT_CONFIG.relative_to(ROOT)}.'
        )
    cfg = Config.fromfile(args.config)
    if not cfg.get('data_root') or 'max_iters' not in cfg.get('train_cfg', {}):
        raise UserError(
            f'The config {args.config} has no data_root or no train_cfg.max_iters: the quickstart needs an iteration-based '
            'config on the generated data set, such as cmt-deeplab_tiny_shapes.py.'
        )
    for key in (
        'train_dataloader',
        'val_dataloader',
        'test_dataloader',
        'val_evaluator',
        'test_evaluator',
    ):
        cfg[key] = move_paths(cfg[key], cfg.data_root, f'{data}/')
    cfg.work_dir = str(Path(args.work_dir).resolve())
    cfg.randomness = dict(cfg.get('randomness', {}), seed=args.seed)
    if args.iters is not None and args.iters != cfg.train_cfg.max_iters:
        share = args.iters / cfg.train_cfg.max_iters
        cfg.train_cfg.val_interval = math.ceil(cfg.train_cfg.get('val_interval', 1000) * share)
        cfg.train_cfg.max_iters = args.iters
        for scheduler in cfg.get('param_scheduler', ()):
            for end in ('begin', 'end'):
                if end in scheduler:
                    scheduler[end] = round(scheduler[end] * share)
        # A warm-up or decay shorter than an iteration is none.
        cfg.param_scheduler = [
            s
            for s in cfg.get('param_scheduler', ())
            if s.get('end', args.iters) - s.get('begin', 0) >= 2
        ]
    # Enough points for a curve, whatever the length of the run.
    cfg.default_hooks.logger.interval = max(
        1, min(cfg.default_hooks.logger.get('interval', 10), cfg.train_cfg.max_iters // 100)
    )
    return cfg


def train(cfg, minutes: float):
    """Runs the config; returns the runner and its hooks (progress, predictions, budget)."""
    from cmt_deeplab.engine import PanopticRunner
    from cmt_deeplab.engine.time_budget_hook import PanopticTimeBudgetHook
    from cmt_deeplab.visualization import (
        PanopticPredictionRecorder,
        PanopticProgressHook,
        best_median_worst,
    )

    class QuietRunner(PanopticRunner):
        """Logs to the file; the terminal has the progress bar."""

        def build_logger(self, *args: Any, **kwargs: Any):
            logger = super().build_logger(*args, **kwargs)
            logger.handlers[0].setLevel('ERROR')
            return logger

    runner = QuietRunner.from_cfg(cfg)
    progress = PanopticProgressHook()
    recorder = PanopticPredictionRecorder(
        choose=lambda images: [image for _, image in best_median_worst(images)]
    )
    budget = PanopticTimeBudgetHook(minutes=minutes, stride=cfg.default_hooks.logger.interval)
    for hook in (progress, recorder, budget):
        runner.register_hook(hook)
    runner.train()
    return runner, progress, recorder, budget


def write_page(
    args: argparse.Namespace, cfg, runner, progress, recorder, budget
) -> tuple[Path, float]:
    """Writes report.html; returns its path and the PQ."""
    from cmt_deeplab.visualization import Report, run_report, write_report
    from cmt_deeplab.visualization.progress import duration

    overall, per_class = run_report.figures(runner, recorder)
    large, small = run_report.charts(runner, progress)
    parameters = sum(p.numel() for p in runner.model.parameters())
    took = duration(progress.timeline[-1][1])
    iterations = f'{runner.max_iters} of batch size {cfg.train_dataloader.batch_size}'
    if budget.skipped:
        iterations += f', {budget.skipped} of them skipped to end within {args.minutes:g} minutes'
    log_config = os.path.relpath(Path(runner.log_dir) / 'vis_data' / 'config.py')
    weights = os.path.relpath(Path(cfg.work_dir) / f'iter_{runner.max_iters}.pth')
    python = (
        os.path.relpath(sys.executable)
        if Path(sys.executable).is_relative_to(Path.cwd())
        else 'python'
    )
    report = Report(
        title='CMT-DeepLab quickstart',
        summary=f'A CMT-DeepLab with {parameters / 1e6:.1f} million parameters, trained from scratch for {took} on {args.train_images} '
        f'generated images and tested on {len(recorder.images)} others.',
        overall=overall,
        per_class=per_class,
        thing_classes=runner.val_dataloader.dataset.metainfo['thing_classes'],
        charts=large,
        small_charts=small,
        examples=run_report.examples(runner, recorder),
        notes={'Pictures': run_report.PICTURE_NOTE},
        run=[
            ('command', shlex.join(['python', *sys.argv])),
            ('config', os.path.relpath(args.config, ROOT)),
            ('seed', str(args.seed)),
            ('iterations', iterations),
            ('training time', f'{took}, validations included'),
            ('parameters', f'{parameters:,}'),
            ('machine', run_report.machine()),
            ('versions', run_report.versions()),
            ('work folder', cfg.work_dir),
        ],
        next_steps=[
            (
                'Evaluate the trained weights again',
                f'{python} tools/test.py {log_config} {weights}',
            ),
            (
                'Train longer',
                f'bash tools/quickstart.sh --iters {3 * runner.max_iters} --minutes {3 * args.minutes:g}',
            ),
            (
                'Make harder scenes, of any size and number',
                f'{python} tools/misc/make_shapes.py data/shapes-standard --preset standard --train 5000 --val 500',
            ),
            (
                'Train on COCO, laid out in data/coco',
                f'{python} tools/train.py configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py',
            ),
        ],
    )
    return write_report(report, Path(cfg.work_dir) / 'report.html'), overall['All'].pq


def main() -> None:
    args = parse_args()
    warnings.filterwarnings(
        'ignore'
    )  # other packages' notes to their developers would break the progress bar
    print('loading PyTorch and mmdet ...', flush=True)
    try:
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # the fork of mmdet reports on a package of its own that nobody needs here
            import cmt_deeplab  # noqa: F401  (registers everything; before mmdet)
        data = Path(args.work_dir).resolve() / 'data'
        cfg = load_config(args, data)
        make_data(args, data)
        runner, progress, recorder, budget = train(cfg, args.minutes)
        path, quality = write_page(args, cfg, runner, progress, recorder, budget)
    except (OSError, ValueError) as error:
        sys.exit(f'Error: {error}')
    except KeyboardInterrupt:
        sys.exit('\nStopped.')
    print(path)
    print(f'PQ {quality:.2f}')


if __name__ == '__main__':
    main()
