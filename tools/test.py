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

from cmt_deeplab.engine import runner_setup  # noqa: E402
from cmt_deeplab.engine.distributed import ends_together  # noqa: E402
from cmt_deeplab.errors import UserError, output_file  # noqa: E402
from torch.distributed.elastic.multiprocessing.errors import record  # noqa: E402


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint')
    runner_setup.add_shared_arguments(parser)
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
    return parser.parse_args()


@ends_together()
@record
def main() -> None:
    args = parse_args()
    runner_setup.require_checkpoint(args.checkpoint)
    runner_setup.require_pickle_name(args.out)
    cfg = runner_setup.load_config(args)
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show or args.show_dir:
        runner_setup.draw_predictions(cfg, args)
    runner = runner_setup.build_runner(cfg)
    if args.out is not None:
        runner_setup.dump_predictions(runner, args.out)
    runner.test()
    for metric in runner.test_evaluator.metrics:
        if getattr(metric, 'unwritten', None):  # said last, after the figures
            raise UserError(metric.unwritten)


if __name__ == '__main__':
    main()
