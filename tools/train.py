"""Train a model: ``python tools/train.py CONFIG``, with the flags of mmdet's tools/train.py.

Several processes are started with tools/dist_train.sh or tools/slurm_train.sh.
"""

import argparse
import signal
import sys
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no stack trace from the imports
# for a clone of the repository that is not installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'projects'))

from cmt_deeplab_cli.arguments import (  # noqa: E402
    add_shared_arguments,
    config_file,
    report_user_errors,
    require_checkpoint,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='file or name of a config')
    add_shared_arguments(parser)
    parser.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on a GPU, bfloat16 on the CPU, or what optim_wrapper.dtype '
        'in --cfg-options says',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch of an optimizer step',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from CHECKPOINT, or without a value from the newest of the work dir',
    )
    args = parser.parse_args()
    args.config = config_file(args.config)
    if args.resume not in (None, 'auto'):
        require_checkpoint(args.resume)
    return args


def train(args: argparse.Namespace) -> None:
    from cmt_deeplab.engine import runner_setup

    cfg = runner_setup.load_config(args)
    if args.amp:
        cfg.optim_wrapper.type = 'PanopticAmpOptimWrapper'
    if args.auto_scale_lr:
        runner_setup.use_scaled_learning_rate(cfg)
    if args.resume is not None:
        runner_setup.resume_from(cfg, args.resume)
    runner_setup.build_runner(cfg).train()


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.engine.distributed import ends_together
    from torch.distributed.elastic.multiprocessing.errors import record

    ends_together()(record(train))(args)


if __name__ == '__main__':
    main()
