"""What a training step or a prediction of a config takes on a GPU, estimated without one.

    python tools/analysis_tools/estimate_training.py CONFIG [--batch N] [--gpus N] [--amp]
    python tools/analysis_tools/estimate_training.py CONFIG --predict 800 1333

Prints memory by phase, the largest tensors with the line that makes them, kernels, where the host
waits for the GPU, collective operations, the time by file, and the largest batches that fit into
GPUs of 24, 40 and 80 GB. No data set, no weights and no GPU are needed: the step runs on tensors
that have shapes but no values. CONFIG has to be of a model of this project.

docs/measurements.md compares estimates with measured steps. --json OUT writes all figures to a
file, in bytes and seconds.
"""

import argparse
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

# A clone that is not installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

from cmt_deeplab_cli.arguments import (
    config_file,
    output_file,
    parser_of_config,
    positive,
    report_user_errors,
)

if TYPE_CHECKING:
    from cmt_deeplab.estimate import StepEstimate

GIB = 2**30
ROWS = 12  # of a table


def parse_args() -> argparse.Namespace:
    parser = parser_of_config(__doc__)
    parser.add_argument('--batch', type=positive, metavar='N', help='images per GPU')
    parser.add_argument('--gpus', type=positive, default=1, metavar='N')
    parser.add_argument('--amp', action='store_true', help='mixed precision, as of tools/train.py')
    parser.add_argument(
        '--fits',
        type=positive,
        nargs='+',
        default=[24, 40, 80],
        metavar='GB',
        help='memory of the GPUs whose largest batch is computed',
    )
    parser.add_argument(
        '--predict',
        type=positive,
        nargs=2,
        metavar=('H', 'W'),
        help='take a prediction of images of H x W pixels, in batches of --batch (1)',
    )
    parser.add_argument('--json', type=output_file, metavar='OUT', help='file for the figures')
    args = parser.parse_args()
    args.config = config_file(args.config)
    return args


def table(step: 'StepEstimate', fits: dict[str, int]) -> str:
    height, width = step.size
    parts = dict(weights=step.weights, gradients=step.gradients, optimizer=step.optimizer)
    parts = {name: size for name, size in parts.items() if size}
    lines = [
        f'An estimate for each of {step.gpus} GPUs with {step.batch} images of {height}x{width}:',
        f'{step.peak / GIB:.2f} GiB at the peak; held all the time: '
        + ', '.join(f'{name} {size / GIB:.2f}' for name, size in parts.items()),
        '',
        f'{"phase":<12}{"peak GiB":>10}{"kernels":>10}{"TFLOPs":>9}{"GB moved":>10}{"ms":>9}',
    ]
    for name, work in (*step.phases.items(), ('together', step.total)):
        peak = step.peaks.get(name, step.peak)
        lines.append(
            f'{name:<12}{peak / GIB:>10.2f}{work.kernels:>10,}{work.flops / 1e12:>9.2f}'
            f'{work.bytes / 1e9:>10.1f}{1e3 * work.seconds:>9.1f}'
        )
    lines += ['', f'{"GiB":>7}{"tensors":>9}  at the peak, by the line that makes them']
    lines += [
        f'{row["bytes"] / GIB:>7.3f}{row["tensors"]:>9,}  {row["place"]}, up to {row["form"]}'
        for row in step.largest[:ROWS]
    ]
    lines += ['', f'{"ms":>7}{"kernels":>9}  on an H100, by file']
    lines += [
        f'{1e3 * work.seconds:>7.1f}{work.kernels:>9,}  {file}'
        for file, work in list(step.files.items())[:ROWS]
    ]
    lines += ['', f'{step.collectives} collective operations. The host waits for the GPU at']
    lines += [f'{row["number"]:>7}  {row["place"]} ({row["kind"]})' for row in step.waits]
    lines += ['', 'Images that fit: ' + ', '.join(f'{size} {n}' for size, n in fits.items())]
    return '\n'.join(lines)


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.analysis.config_model import load_config
    from cmt_deeplab.estimate import (
        estimate_prediction,
        estimate_step,
        largest_batch,
        pretended_device,
        recipe_batch,
    )
    from mmengine.fileio import dump

    device = pretended_device()  # before autograd counts its devices, in the first backward pass
    config = load_config(args.config, args.cfg_options)
    if args.amp:
        config.optim_wrapper.type = 'PanopticAmpOptimWrapper'
    if args.predict:
        batch, output = args.batch or 1, tuple(args.predict)
        estimate = partial(estimate_prediction, config, output=output)
    else:
        batch = args.batch or config.train_dataloader.batch_size
        batch = recipe_batch(config, args.gpus) if batch == 'auto' else batch
        estimate = partial(estimate_step, config, gpus=args.gpus)
    step, other = estimate(batch=batch), estimate(batch=batch // 2 if batch > 1 else 2)
    if not args.predict:  # the CPU does not tell its copies to itself from waits
        step = replace(step, waits=estimate(batch=batch, device=device).waits)
    fits = {f'{size} GB': largest_batch(step, other, size * GIB) for size in args.fits}
    print(table(step, fits), flush=True)
    if args.json:
        figures = dict(asdict(step), peak=step.peak, fits=fits)
        dump(figures, args.json, 'json', indent=2)


if __name__ == '__main__':
    main()
