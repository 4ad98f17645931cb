"""Times parts of this project beside other programs for the same work, on the CPU.

    python tools/benchmarks/run.py TASK... [--json OUT]

Ours and the peers run in turn in one process. The table, in Markdown, has the medians over the
runs and of their ratios; a ratio that other work on the machine spoiled is marked as meaningless.
Memory is the peak of torch's allocator over its level before. The images are those of --data-root,
with COCO's names of files. TASK is one or more of:
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import output_file, positive, report_user_errors

TASKS = {
    'loader': "load and augment one image, beside mmdet's pipeline",
    'metric': "PQ of one image in memory, beside mmdet's CocoPanopticMetric",
    'evaluate': 'PQ of JSON and PNG files, beside hotcoco, vernier and panopticapi',
    'merge': "masks to a panoptic map, beside mmdet's MaskFormerFusionHead",
    'criterion': 'the losses of a step, beside the same formulas on one-hot masks',
    'layer': 'one CMT layer, beside a plain transcription of its equations',
    'predict': 'one image, merge included, beside Mask2Former and MaskFormer of mmdet',
    'train-step': 'one training step, beside Mask2Former and MaskFormer of mmdet',
    'optimizer': "the optimizer's step, beside mmengine's one group for each parameter",
    'scaling': 'targets and losses of an image with 50 and 150 segments, beside 10',
}


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='\n'.join([__doc__, *(f'  {name:11} {what}' for name, what in TASKS.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('tasks', nargs='+', choices=TASKS, metavar='TASK')
    parser.add_argument('--data-root', default='data/coco')
    parser.add_argument('--split', default='val2017', help='of the images and annotations')
    parser.add_argument('--images', type=positive, default=100, help='of the split, at most (100)')
    parser.add_argument('--runs', type=positive, help='of each form, in place of the usual number')
    parser.add_argument(
        '--threads', type=positive, default=os.cpu_count(), help="torch's threads (all cores)"
    )
    parser.add_argument(
        '--clock', choices=('wall', 'processor'), default='wall', help='of the ratios (wall)'
    )
    parser.add_argument('--json', type=output_file, metavar='OUT', help='file for the figures')
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict:
    args = parse_args(arguments)
    with report_user_errors():
        import stock_mmdet  # noqa: F401, I001  before cmt_deeplab
        import cmt_deeplab  # noqa: F401  registers the parts
        import torch
        from cmt_deeplab.analysis.comparison_table import machine
        from harness import markdown, measure, remarks
        from mmengine.fileio import dump
        from mmengine.logging import MMLogger

        MMLogger.get_instance('benchmarks', log_level='ERROR')
        torch.set_num_threads(args.threads)
        results = []
        for task in args.tasks:
            for subject in import_module(task.replace('-', '_')).subjects(args):
                results.append(measure(subject, runs=args.runs, clock=args.clock))
                print(results[-1]['title'], file=sys.stderr, flush=True)
        print(markdown(results), remarks(results), machine('cpu'), sep='\n\n', flush=True)
        result = dict(setting=vars(args), machine=machine('cpu'), results=results)
        if args.json:
            dump(result, args.json, 'json', indent=1)
    return result


if __name__ == '__main__':
    main()
