"""The command line of the quickstart: data, training, evaluation and report, in this order."""

import argparse
import contextlib
import io
import sys
import warnings
from pathlib import Path

from . import ROOT

DEFAULT_CONFIG = ROOT / 'configs/cmt_deeplab/cmt-deeplab_tiny-quickstart_shapes.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Generate panoptic scenes, train a small CMT-DeepLab on them, evaluate it and '
        'write a page about it.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/quickstart',
        help='folder of data, logs, checkpoint and report',
    )
    parser.add_argument(
        '--minutes',
        type=float,
        default=10.0,
        help='time of training; a slow machine skips iterations, and one that is busy with other '
        'programs takes up to twice as long',
    )
    parser.add_argument('--iters', type=int, help='iterations, in place of those of the config')
    parser.add_argument('--train-images', type=int, default=2000, help='generated training images')
    parser.add_argument('--val-images', type=int, default=100, help='generated validation images')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the data, the weights and the order of images'
    )
    parser.add_argument(
        '--config', default=str(DEFAULT_CONFIG), help='a config on the generated data set'
    )
    args = parser.parse_args()
    for name in ('minutes', 'iters', 'train_images', 'val_images'):
        value = getattr(args, name)
        if value is not None and value <= 0:
            parser.error(f'--{name.replace("_", "-")} must be positive, not {value}')
    if args.seed < 0:
        parser.error(f'--seed must not be negative, not {args.seed}')
    return args


def run(args: argparse.Namespace) -> tuple[Path, float]:
    """Make the data, train and write the report; its path and the PQ in percent."""
    from cmt_deeplab.datasets import write_shapes
    from cmt_deeplab.engine import PanopticTimeBudgetHook
    from cmt_deeplab.reports import PanopticEarlyFiguresHook, PanopticReportHook
    from cmt_deeplab.reports.progress import ProgressHook, QuietRunner, progress_bar
    from mmengine.device import get_device

    from .config import load_config
    from .next_steps import next_steps

    cfg = load_config(args)
    with progress_bar() as bar:
        images = args.train_images + args.val_images
        generating = bar.add_task('generating images', total=images, note='')
        write_shapes(
            Path(cfg.work_dir) / 'data',
            preset='quick',
            num_train=args.train_images,
            num_val=args.val_images,
            seed=args.seed,
            progress=lambda done, total: bar.update(generating, completed=done),
        )
        bar.update(generating, completed=images)  # data that lie there already are not made again
        runner = QuietRunner.from_cfg(cfg)
        stretch = 2.0 if get_device() == 'cpu' else 1.0
        stride = max(1, runner.max_iters // 250)
        for hook in (
            ProgressHook(bar),
            PanopticEarlyFiguresHook(images=20),
            PanopticTimeBudgetHook(minutes=args.minutes, stride=stride, stretch=stretch),
            PanopticReportHook(title='CMT-DeepLab quickstart', next_steps=next_steps(args, runner)),
        ):
            runner.register_hook(hook)
        runner.train()
    quality = runner.message_hub.get_scalar('val/coco_panoptic/PQ').current()
    return Path(runner.work_dir, 'report.html'), quality


def main() -> None:
    args = parse_args()
    # Notes of other packages to their developers would break the progress bar.
    warnings.filterwarnings('ignore')
    print('loading PyTorch and mmdet ...', flush=True)
    with contextlib.redirect_stdout(io.StringIO()):  # the fork of mmdet prints a note of its own
        from cmt_deeplab.errors import TrainingStopped, report_user_errors
    try:
        with report_user_errors():
            path, quality = run(args)
    except TrainingStopped:  # which the log tells, but not the terminal
        print('\nStopped.', file=sys.stderr)
        raise
    print(path)
    print(f'PQ {quality:.2f}')
