"""Repeat a training step that was not finite, as training saved it.

    python tools/analysis_tools/replay_step.py CONFIG STEP [--cfg-options key=value ...]

STEP is a not_finite_iter_N_rank0.pth of a work dir, and CONFIG the config beside it. The weights,
the batch and the random numbers are those of the step, so on the CPU the loss terms are the same
bit for bit. Each is printed beside the value that it had, then the first module whose output is not
finite. Nothing is trained or written beside a log in a temporary folder. A step of several
processes is repeated by as many, each from its own file:

    torchrun --nproc-per-node 2 tools/analysis_tools/replay_step.py CONFIG STEP --launcher pytorch
"""

import argparse
import sys
import tempfile
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import (
    add_shared_arguments,
    config_file,
    report_user_errors,
    require_checkpoint,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='file or name of a config')
    parser.add_argument('step', help='not_finite_iter_N_rank0.pth')
    add_shared_arguments(parser)
    args = parser.parse_args()
    args.config = config_file(args.config)
    require_checkpoint(args.step)
    return args


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.engine.optim.replay import replay
    from cmt_deeplab.engine.runner_setup import load_config

    with tempfile.TemporaryDirectory() as folder:
        args.work_dir = args.work_dir or folder
        for line in replay(load_config(args), args.step):
            print(line)


if __name__ == '__main__':
    main()
