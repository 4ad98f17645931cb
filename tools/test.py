"""Evaluate a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``, with the flags of mmdet's.

Several processes are started with tools/dist_test.sh or tools/slurm_test.sh.
"""

import argparse
import signal
import sys
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no stack trace from the imports
# for a clone of the repository that is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from cmt_deeplab_cli.arguments import (  # noqa: E402
    UserError,
    add_shared_arguments,
    config_file,
    output_file,
    report_user_errors,
    require_checkpoint,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    parser.add_argument('config', help='file or name of a config')
    add_shared_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        metavar='FILE.pkl',
        type=output_file,
        help='write the predictions to a pickle file, for offline evaluation',
    )
    parser.add_argument('--show', action='store_true', help='show each prediction in a window')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='write pictures of the predictions to WORK_DIR/TIMESTAMP/DIR',
    )
    parser.add_argument(
        '--wait-time', type=float, default=2, help='seconds that a window of --show stays'
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='test-time augmentation: evaluate as always, then by the mean over each image and its '
        'mirror image (tta_model of the config has the options), and compare the two',
    )
    parser.add_argument(
        '--optimize',
        choices=('none', 'fold', 'compile'),
        default='none',
        help='predict faster, equal but for rounding: fold batch norms into convolutions, or also '
        'compile the network, which takes a minute or more at the first image',
    )
    args = parser.parse_args()
    args.config = config_file(args.config)
    require_checkpoint(args.checkpoint)
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {args.out} writes a pickle file; give it a name that ends in .pkl.')
    return args


def test(args: argparse.Namespace) -> None:
    from cmt_deeplab.engine import runner_setup

    cfg = runner_setup.load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show or args.show_dir:
        runner_setup.draw_predictions(cfg, args)
    runner = runner_setup.build_runner(cfg)
    if args.out is not None:
        runner_setup.dump_predictions(runner, args.out)
    if args.optimize != 'none':
        from cmt_deeplab.inference.optimized import OptimizedTestHook

        runner.register_hook(OptimizedTestHook(args.optimize))
    if args.tta:
        runner_setup.test_with_augmentation(runner)
    else:
        runner.test()
    for metric in runner.test_evaluator.metrics:
        if getattr(metric, 'unwritten', None):  # said last, after the figures
            raise UserError(metric.unwritten)


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.engine.distributed import ends_together
    from torch.distributed.elastic.multiprocessing.errors import record

    ends_together()(record(test))(args)


if __name__ == '__main__':
    main()
