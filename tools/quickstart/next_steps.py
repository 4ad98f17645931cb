"""What a person can do after the quickstart, as commands of this machine."""

import argparse
import os
import sys
from pathlib import Path

from mmengine.runner import Runner


def next_steps(args: argparse.Namespace, runner: Runner) -> list[tuple[str, str]]:
    """Pairs of a sentence and its command, for the end of the report."""
    inside = Path(sys.executable).is_relative_to(Path.cwd())
    python = os.path.relpath(sys.executable) if inside else 'python'
    config = os.path.relpath(f'{runner.log_dir}/vis_data/config.py')
    checkpoint = os.path.relpath(f'{runner.work_dir}/iter_{runner.max_iters}.pth')
    longer = f'--iters {3 * runner.max_iters} --minutes {3 * args.minutes:g}'
    coco = 'configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
    return [
        ('Evaluate the trained weights again', f'{python} tools/test.py {config} {checkpoint}'),
        ('Train longer', f'bash tools/quickstart.sh {longer}'),
        (
            'Make harder scenes, of any size and number',
            f'{python} tools/misc/make_shapes.py data/shapes-standard --preset standard '
            '--train 5000 --val 500',
        ),
        ('Train on COCO, laid out in data/coco', f'{python} tools/train.py {coco}'),
    ]
