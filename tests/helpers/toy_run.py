"""Builds runners of the toy config inside the test process."""

import itertools
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config

_count = itertools.count()
_read = Config.fromfile  # tests replace the name in the command lines


def toy_config(work_dir: Path | None, **options) -> Config:
    """The toy config with ``options`` (nested keys with dots written as double underscores)."""
    cfg = _read(str(Path(__file__).with_name('toy_config.py')))
    cfg.work_dir = None if work_dir is None else str(work_dir)
    cfg.experiment_name = (
        f'toy_{next(_count)}'  # mmengine shares loggers and message hubs by this name
    )
    cfg.visualizer.name = cfg.experiment_name
    options = deepcopy(options)  # merging takes _delete_ out
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
    return cfg


def toy_runner(work_dir: Path, **options):
    from cmt_deeplab.engine.runner_setup import build_runner

    return build_runner(toy_config(work_dir, **options))
