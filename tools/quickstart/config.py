"""The config that the quickstart runs, fitted to the data and length of this run."""

import argparse
import math
from pathlib import Path
from typing import Any

from cmt_deeplab.errors import UserError, require_file
from mmengine.config import Config


def load_config(args: argparse.Namespace) -> Config:
    """The config with the data, work folder, seed and number of iterations of this run.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is no iteration-based config with a ``data_root``.
    """
    require_file(
        args.config, f'The config {args.config} does not exist: leave --config out for the default.'
    )
    cfg = Config.fromfile(args.config)
    if not cfg.get('data_root') or 'max_iters' not in cfg.get('train_cfg', {}):
        raise UserError(
            f'The config {args.config} has no data_root or no train_cfg.max_iters: the quickstart '
            'needs an iteration-based config on the generated data set, such as '
            'cmt-deeplab_tiny_shapes.py.'
        )
    work_dir = Path(args.work_dir).resolve()
    old = cfg.data_root
    for key in list(cfg):
        cfg[key] = move_paths(cfg[key], old, f'{work_dir / "data"}/')
    cfg.merge_from_dict({'work_dir': str(work_dir), 'randomness.seed': args.seed})
    if args.iters:
        shorten(cfg, args.iters)
    # enough points for the curves of a short run
    logger = cfg.default_hooks.logger
    logger.interval = min(logger.get('interval', 10), max(1, cfg.train_cfg.max_iters // 100))
    return cfg


def shorten(cfg: Config, iterations: int) -> None:
    """Change the length of the run; its validations and learning rate keep their places in it."""
    share = iterations / cfg.train_cfg.max_iters
    cfg.train_cfg.val_interval = math.ceil(cfg.train_cfg.get('val_interval', 1000) * share)
    cfg.train_cfg.max_iters = iterations
    schedulers = cfg.get('param_scheduler') or []
    schedulers = [schedulers] if isinstance(schedulers, dict) else schedulers
    for scheduler in schedulers:
        for key in {'begin', 'end', 'warmup'}.intersection(scheduler):
            scheduler[key] = round(scheduler[key] * share)
    # A warm-up or decay of less than two iterations is none.
    cfg.param_scheduler = [
        s for s in schedulers if s.get('end', iterations) - s.get('begin', 0) >= 2
    ]


def move_paths(entry: Any, old: str, new: str) -> Any:
    """The config entry with every path under ``old`` moved under ``new``."""
    if isinstance(entry, dict):
        return type(entry)({key: move_paths(value, old, new) for key, value in entry.items()})
    if isinstance(entry, list | tuple):
        return type(entry)(move_paths(value, old, new) for value in entry)
    if isinstance(entry, str) and entry.startswith(old):
        return new + entry.removeprefix(old)
    return entry
