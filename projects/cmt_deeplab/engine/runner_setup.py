"""From a command line to a runner: what ``tools/train.py`` and ``tools/test.py`` share."""

import argparse
from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from cmt_deeplab.config_check import check_config
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.errors import UserError, mistakes_as_user_errors, require_file

from .config_overrides import OverridesAction, merge_overrides


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that mmdet's train.py and test.py both have."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints (default: work_dirs/NAME_OF_CONFIG)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OverridesAction,
        default={},
        help='override entries of the config: key=value, nested keys with dots, lists as '
        'key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='how the processes were started',
    )
    # torch.distributed.launch passes it, in either spelling, beside the variable LOCAL_RANK
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the overrides of the command line.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file cannot be loaded, or an override does not suit the config.
    """
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    merge_overrides(cfg, args.cfg_options)
    default = Path('work_dirs') / Path(args.config).stem
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(default)
    return cfg


def use_scaled_learning_rate(cfg: Config) -> None:
    """``--auto-scale-lr``: the learning rate in proportion to the batch of an optimizer step.

    Raises:
        UserError: the config does not say which batch its learning rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: the batch that its '
            'learning rate is set for.'
        )
    cfg.auto_scale_lr.enable = True


def require_checkpoint(path: str) -> None:
    """Check that a checkpoint is there, unless it is an address such as https://... .

    Raises:
        MissingFileError: it is not.
    """
    if '://' not in path:
        require_file(
            path,
            f'The checkpoint {path} does not exist; give the path of a .pth file that training '
            'wrote.',
        )


def resume_from(cfg: Config, checkpoint: str) -> None:
    """``--resume CHECKPOINT``, or ``'auto'`` for ``--resume`` alone.

    The latter takes the newest checkpoint of the work dir. Where there is none, the training
    starts, with the weights of ``load_from`` if the config has that.

    Raises:
        MissingFileError: the checkpoint is not there.
    """
    cfg.resume = True
    if checkpoint != 'auto':
        require_checkpoint(checkpoint)
        cfg.load_from = checkpoint
        return
    cfg.start_from, cfg.load_from = cfg.get('load_from'), None


def require_pickle_name(path: str | None) -> None:
    """Check the file name of ``--out``.

    Raises:
        UserError: it is not that of a pickle file.
    """
    if path and not path.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {path} writes a pickle file; give it a name that ends in .pkl.')


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """``--show`` and ``--show-dir``: mmdet's visualization hook draws every prediction."""
    hook = cfg.default_hooks.setdefault('visualization', dict(type='DetVisualizationHook'))
    hook.update(draw=True, show=args.show, wait_time=args.wait_time, test_out_dir=args.show_dir)


def dump_predictions(runner: Runner, path: str) -> None:
    """``--out``: mmdet's dump of all predictions, beside the metrics of the config."""
    from mmdet.evaluation import DumpDetResults

    runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=path))


def build_runner(cfg: Config) -> Runner:
    """The runner that the config names (``runner_type``).

    Raises:
        UserError: something in the config cannot be used.
    """
    from mmdet.registry import RUNNERS
    from mmdet.utils import setup_cache_size_limit_of_dynamo

    setup_cache_size_limit_of_dynamo()
    with mistakes_as_user_errors():
        if cfg.setdefault('runner_type', 'PanopticRunner') != 'PanopticRunner':  # it checks itself
            check_config(cfg)
        return RUNNERS.build(cfg)
