"""From a command line to a runner: what ``tools/train.py`` and ``tools/test.py`` share."""

import argparse
import os
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.runner import Runner, find_latest_checkpoint

from cmt_deeplab.errors import MissingFileError, MissingPackageError, UserError

from .config_overrides import check_overrides

URL_MARK = '://'  # a checkpoint may be an address: https://, torchvision://, open-mmlab://


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of mmdet's train.py and test.py that both have."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir', help='folder of logs and checkpoints (default: work_dirs/NAME_OF_CONFIG)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override entries of the config: key=value, nested keys with dots, lists as key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='how the processes were started',
    )
    # torchrun sets LOCAL_RANK; older launchers pass it as an argument, in either spelling
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """The config file with the overrides of the command line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an override does not suit the config.
    """
    if not Path(args.config).is_file():
        raise MissingFileError(
            f'The config {args.config} does not exist; the configs of this project lie in configs/.'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    if args.cfg_options is not None:
        check_overrides(cfg, args.cfg_options)
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def use_mixed_precision(cfg: Config) -> None:
    """``--amp``: fp16 with a dynamic loss scale on a GPU, bf16 on the CPU, or what ``optim_wrapper.dtype`` says."""
    cfg.optim_wrapper.type = 'PanopticAmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def use_scaled_learning_rate(cfg: Config) -> None:
    """``--auto-scale-lr``: the learning rate in proportion to the batch of an optimizer step.

    Raises:
        ValueError: the config does not say which batch its learning rate is for.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise UserError(
            '--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: the batch that its learning rate is set for.'
        )
    cfg.auto_scale_lr.enable = True


def require_checkpoint(path: str) -> None:
    """Raises FileNotFoundError where a checkpoint is not there."""
    if URL_MARK not in path and not Path(path).is_file():
        raise MissingFileError(
            f'The checkpoint {path} does not exist; give the path of a .pth file that training wrote.'
        )


def resume_from(cfg: Config, checkpoint: str | None) -> None:
    """``--resume`` (``'auto'``: the newest checkpoint of the work dir, or a fresh start where there is none) or ``--resume CHECKPOINT``.

    Raises:
        FileNotFoundError: the checkpoint is not there.
    """
    cfg.resume = True
    if checkpoint == 'auto':
        cfg.load_from = None
        newest = find_latest_checkpoint(cfg.work_dir) if Path(cfg.work_dir).is_dir() else None
        if newest is not None and not Path(newest).is_file():
            raise MissingFileError(
                f'{Path(cfg.work_dir) / "last_checkpoint"} names {newest}, which does not exist; pass --resume '
                'CHECKPOINT.'
            )
    else:
        require_checkpoint(checkpoint)
        cfg.load_from = checkpoint


def require_pickle_name(path: str | None) -> None:
    """Raises ValueError where ``--out`` does not name a pickle file."""
    if path is not None and not path.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {path} writes a pickle file; give it a name that ends in .pkl.')


def draw_predictions(cfg: Config, *, show: bool, show_dir: str | None, wait_time: float) -> None:
    """``--show`` and ``--show-dir``: mmdet's visualization hook draws every prediction."""
    hook = cfg.default_hooks.setdefault('visualization', dict(type='DetVisualizationHook'))
    hook.update(draw=True, show=show, wait_time=wait_time, test_out_dir=show_dir)


def dump_predictions(runner: Runner, path: str) -> None:
    """``--out``: mmdet's dump of all predictions, beside the metrics of the config."""
    from mmdet.evaluation import DumpDetResults

    runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=path))


def require_tensorboard(cfg: Config) -> None:
    """Raises ImportError where the config logs to TensorBoard and it is not installed."""
    backends = (cfg.get('visualizer') or {}).get('vis_backends') or ()
    if any(
        backend.get('type') == 'TensorboardVisBackend' for backend in backends
    ) and not find_spec('tensorboard'):
        raise MissingPackageError(
            'visualizer.vis_backends names TensorboardVisBackend, but tensorboard is not installed; pip install tensorboard, '
            'or take the entry out.'
        )


def build_runner(cfg: Config) -> Runner:
    """The runner that the config names (``runner_type``)."""
    from mmdet.registry import RUNNERS
    from mmdet.utils import setup_cache_size_limit_of_dynamo

    setup_cache_size_limit_of_dynamo()
    if cfg.get('load_from'):
        require_checkpoint(cfg.load_from)
    require_tensorboard(cfg)
    cfg.setdefault('runner_type', 'PanopticRunner')
    return RUNNERS.build(cfg)
