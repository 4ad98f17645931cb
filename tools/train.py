"""Train a model: ``python tools/train.py CONFIG``, with the flags of mmdet's tools/train.py.

``python tools/train.py DATA`` trains on a folder of your own data, see docs/own_data.md.

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
    UserError,
    above_zero,
    add_shared_arguments,
    config_file,
    positive,
    report_user_errors,
    require_checkpoint,
)
from cmt_deeplab_cli.light import without_init  # noqa: E402

with without_init('cmt_deeplab', 'cmt_deeplab.own_training'):
    from cmt_deeplab.own_training.models import RECIPES

# arguments of cmt_deeplab.own_training.train, which has their defaults
OWN_DATA = {
    'model': dict(
        choices=RECIPES, help='; '.join(f'{name}: {one.says}' for name, one in RECIPES.items())
    ),
    'stuff': dict(metavar='A,B', help='the classes that are stuff, or none; others are things'),
    'background': dict(metavar='NAME', help='the stuff class of pixels without a mask, or void'),
    'layout': dict(help='take DATA for this layout, such as class-masks'),
    'image-size': dict(type=positive, nargs='+', metavar=('H', 'W'), help='size of the input'),
    'windows': dict(
        action='store_true', help='train on crops of large images and test in windows of that size'
    ),
    'iters': dict(type=positive, help='length of the training in iterations'),
    'minutes': dict(type=above_zero, help='time after which the training ends'),
    'batch': dict(
        type=lambda text: text if text == 'auto' else positive(text),
        metavar='N|auto',
        help='images of an iteration; auto: those of the recipe, or as many as fit into memory',
    ),
    'weights': dict(metavar='FILE', help='pretrained weights of the backbone, or none'),
    'device': dict(help='cpu or cuda; a GPU where there is one'),
    'seed': dict(type=int, help='of the weights, the order of the images and the split'),
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        usage='%(prog)s DATA|CONFIG [options]',
        description='Train a model by a config, or on a folder of your own data.',
    )
    parser.add_argument(
        'config', metavar='DATA|CONFIG', help='folder or data.yaml; file or name of a config'
    )
    add_shared_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from CHECKPOINT, or without a value from the newest of the work dir',
    )
    own = parser.add_argument_group('for DATA')
    names = [
        own.add_argument(f'--{name}', default=argparse.SUPPRESS, **settings).dest
        for name, settings in OWN_DATA.items()
    ]
    of_config = parser.add_argument_group('for CONFIG')
    of_config.add_argument(
        '--amp',
        action='store_true',
        help='mixed precision: float16 on a GPU, bfloat16 on the CPU, or what optim_wrapper.dtype '
        'in --cfg-options says',
    )
    of_config.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the batch of an optimizer step',
    )
    args = parser.parse_args()
    args.own_data = {name: vars(args)[name] for name in names if name in args}
    if 'image_size' in args.own_data:
        height, *others = args.own_data['image_size']
        if len(others) > 1:
            parser.error('--image-size takes the height and the width, or one number for both')
        args.own_data['image_size'] = (height, *(others or [height]))
    if Path(args.config).name == 'data.yaml':  # of YOLO, which other programs are given
        args.config = str(Path(args.config).parent)
    if Path(args.config).is_dir():
        if args.amp or args.auto_scale_lr or args.launcher != 'none':
            parser.error('--amp, --auto-scale-lr and --launcher are for a config, not for data')
        if args.resume not in (None, 'auto'):
            parser.error('--resume takes no CHECKPOINT with data: it continues from the newest')
        return args
    try:
        args.config = config_file(args.config)
    except UserError as error:
        if args.config.endswith('.py'):
            raise
        no_config = '' if args.own_data else f' {error}'
        raise UserError(f'There is no folder {args.config} of data.{no_config}') from error
    if args.own_data:
        flag = next(iter(args.own_data)).replace('_', '-')
        parser.error(f'--{flag} is for a folder of data, not for a config')
    if args.resume not in (None, 'auto'):
        require_checkpoint(args.resume)
    return args


def train_on_data(args: argparse.Namespace) -> None:
    from cmt_deeplab.engine.config_overrides import read_overrides
    from cmt_deeplab.own_training import train

    train(
        args.config,
        work_dir=args.work_dir,
        resume=args.resume is not None,
        overrides=read_overrides(args.cfg_options),
        **args.own_data,
    )


def train_config(args: argparse.Namespace) -> None:
    from cmt_deeplab.engine import runner_setup
    from cmt_deeplab.estimate import settle_batch

    cfg = runner_setup.load_config(args)
    if args.amp:
        cfg.optim_wrapper.type = 'PanopticAmpOptimWrapper'
    said = settle_batch(cfg)
    if args.auto_scale_lr:
        runner_setup.use_scaled_learning_rate(cfg)
    if args.resume is not None:
        runner_setup.resume_from(cfg, args.resume)
    runner = runner_setup.build_runner(cfg)
    if said:
        runner.logger.info(said)
    runner.train()


@report_user_errors()
def main() -> None:
    args = parse_args()
    from cmt_deeplab.engine.distributed import ends_together
    from torch.distributed.elastic.multiprocessing.errors import record

    train = train_on_data if Path(args.config).is_dir() else train_config
    ends_together()(record(train))(args)


if __name__ == '__main__':
    main()
