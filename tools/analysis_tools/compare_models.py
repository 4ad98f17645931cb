"""One table of several models: size, cost, time, memory and PQ, on the same images and machine.

    python tools/analysis_tools/compare_models.py CONFIG[:CHECKPOINT]... [--train N] [options]

CONFIG is a file of this project, of yours, of mmdet or of any toolbox that registers in mmdet, or a
name such as mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py. The images and the
metric are those of the first config (--data names another), and each model gets the images through
its own pipelines. The models run in turn, one image each, so that other work on the machine slows
all of them. A model without CHECKPOINT has random weights: it gets the class counts of the data and
no PQ, unless --train N trains it. A model that fails gets one sentence below the table, the others
go on, and the exit code is 1.

--train N trains the models one after the other for N iterations, from equal seeds, on the same
images in the same order and with the batch of the data's config. Optimizer, learning rate, losses
and pipelines are those of each config, its schedule is brought to N iterations, and nothing is
scaled to the batch. PQ is measured ten times on the way, and a picture shows it over iterations and
over the time of the training steps: that of the processor, and on a GPU that of the wall.
"""

import argparse
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

# A clone that is not installed, and the harness of the benchmarks.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'benchmarks'))

from cmt_deeplab_cli.arguments import (
    UserError,
    config_and_checkpoint,
    config_file,
    mistakes_as_user_errors,
    output_file,
    positive,
    report_user_errors,
)

if TYPE_CHECKING:
    from cmt_deeplab.analysis.compared_model import ComparedModel


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('models', nargs='+', metavar='CONFIG[:CHECKPOINT]')
    parser.add_argument('--data', metavar='CONFIG', help='config whose images and metric are used')
    parser.add_argument(
        '--images', type=positive, metavar='N', help='PQ on the first N images only'
    )
    parser.add_argument('--runs', type=positive, default=30, help='timed runs of each model (30)')
    parser.add_argument(
        '--batch', type=positive, help="images of a training step (that of the data's config)"
    )
    parser.add_argument('--train', type=positive, metavar='N', help='train each model N iterations')
    parser.add_argument('--seed', type=int, default=0, help='seed of the trainings (0)')
    parser.add_argument(
        '--device',
        default='cpu',
        help='cpu (the default) or cuda; --train takes a GPU where there is one',
    )
    parser.add_argument(
        '--threads', type=positive, default=1, help="torch's threads on the CPU (1)"
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/compare',
        help='curves and checkpoints of the trainings (work_dirs/compare)',
    )
    parser.add_argument(
        '--json', type=output_file, metavar='OUT', help='file for all figures and curves'
    )
    parser.add_argument(
        '--markdown', type=output_file, metavar='OUT', help='file for the table as Markdown'
    )
    parser.add_argument(
        '--plot', type=output_file, metavar='OUT', help='picture of the trainings (WORK_DIR/pq.png)'
    )
    args = parser.parse_args()
    for argument in args.models:  # wrong names are told at once
        config_and_checkpoint(argument)
    args.data = args.data and config_file(args.data)
    return args


def compare(args: argparse.Namespace) -> list['ComparedModel']:
    """The models with all their figures.

    Raises:
        UserError: an argument is wrong, so that there is nothing to compare.
    """
    import torch
    from cmt_deeplab.analysis import compared_model
    from cmt_deeplab.analysis.config_model import load_config
    from cmt_deeplab.analysis.learning_curve import train
    from matplotlib.backend_bases import FigureCanvasBase
    from whole_models import measure_models

    torch.set_num_threads(args.threads)
    if args.device.startswith('cuda') and not torch.cuda.is_available():
        raise UserError('--device cuda: torch finds no GPU here; leave --device out for the CPU.')
    try:
        torch.empty(1, device=args.device)
    except (AssertionError, RuntimeError) as error:
        raise UserError(f'--device {args.device} is unknown to torch here; use cpu.') from error
    formats = FigureCanvasBase.get_supported_filetypes()
    if args.plot and Path(args.plot).suffix[1:] not in formats:
        raise UserError(f'--plot {args.plot} names no picture: let it end in .png, .pdf or .svg.')
    models = name_apart([compared_model.read_model(argument) for argument in args.models])
    data = compared_model.SharedData(load_config(args.data) if args.data else models[0].config)
    batch = args.batch or data.config.train_dataloader.batch_size
    data.config.train_dataloader.batch_size = batch
    for model in models:
        model.attempt(data.fit_classes)
        if args.train:
            folder = Path(args.work_dir) / model.name
            model.attempt(train, data, iterations=args.train, seed=args.seed, work_dir=folder)
        model.attempt(compared_model.build_network, data, args.device)
        if model.network is not None:
            model.attempt(compared_model.evaluate, data, args.images)
    measure_models(models, data, runs=args.runs, batch=batch, device=args.device)
    return models


def name_apart(models: list['ComparedModel']) -> list['ComparedModel']:
    """Number the models that have equal names."""
    for model in models:
        same = [other for other in models if other.name == model.name]
        for i, other in enumerate(same[1:], 2):
            other.name = f'{other.name} ({i})'
    return models


def write(what: str, args: argparse.Namespace, models: list['ComparedModel']) -> None:
    """Write the figures, the table or the picture of the curves, if it is asked for."""
    from cmt_deeplab.analysis.comparison_table import as_markdown, machine
    from cmt_deeplab.analysis.learning_curve import draw_curves
    from mmengine.fileio import dump, put_text

    if what == 'json' and args.json:
        rows = [vars(model) | dict(config=None, network=None) for model in models]
        result = dict(setting=vars(args), machine=machine(args.device), models=rows)
        dump(result, args.json, 'json', indent=1)
    elif what == 'markdown' and args.markdown:
        put_text(as_markdown(models, args.device) + '\n', args.markdown)
    elif what == 'plot' and any(model.curve for model in models):
        path = args.plot or str(Path(args.work_dir) / 'pq.png')
        draw_curves(models, path)
        print(path)


def main() -> int:
    with report_user_errors():
        args = parse_args()
        from cmt_deeplab.analysis.comparison_table import as_markdown
        from mmengine.logging import MMLogger

        warnings.filterwarnings('ignore')  # notes of other packages to their developers
        MMLogger.get_instance('compare_models', log_level='ERROR')
        models = compare(args)
    print(as_markdown(models, args.device), flush=True)
    missing = 0
    for what in ('json', 'markdown', 'plot'):  # each, though another fails
        try:
            with mistakes_as_user_errors():
                write(what, args, models)
        except UserError as error:
            print(f'Error: {error}', file=sys.stderr)
            missing += 1
    return missing > 0 or any(model.failed for model in models)


if __name__ == '__main__':
    sys.exit(main())
