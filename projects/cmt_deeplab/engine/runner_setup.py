"""From a command line to a runner: what ``tools/train.py`` and ``tools/test.py`` share."""

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from time import perf_counter

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from cmt_deeplab.config_check import check_config
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.errors import UserError, mistakes_as_user_errors

from .config_overrides import merge_overrides


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


def resume_from(cfg: Config, checkpoint: str) -> None:
    """``--resume CHECKPOINT``, or ``'auto'`` for ``--resume`` alone.

    The latter takes the newest checkpoint of the work dir. Where there is none, the training
    starts, with the weights of ``load_from`` if the config has that.
    """
    cfg.resume = True
    if checkpoint != 'auto':
        cfg.load_from = checkpoint
        return
    cfg.start_from, cfg.load_from = cfg.get('load_from'), None


def draw_predictions(cfg: Config, args: argparse.Namespace) -> None:
    """``--show`` and ``--show-dir``: mmdet's visualization hook draws every prediction."""
    hook = cfg.default_hooks.setdefault('visualization', dict(type='DetVisualizationHook'))
    hook.update(draw=True, show=args.show, wait_time=args.wait_time, test_out_dir=args.show_dir)


def dump_predictions(runner: Runner, path: str) -> None:
    """``--out``: mmdet's dump of all predictions, beside the metrics of the config."""
    from mmdet.evaluation import DumpDetResults

    runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=path))


def test_with_augmentation(runner: Runner) -> None:
    """``--tta``: evaluate as always, then by the mean of augmented images, and compare the two."""
    from mmdet.registry import MODELS

    from cmt_deeplab.reports import PanopticReportHook

    from .class_check import unwrapped

    config = {'type': 'PanopticTTAModel', **(runner.cfg.get('tta_model') or {})}
    with mistakes_as_user_errors():  # before the evaluation, which may take long
        augmented = MODELS.build(dict(config, module=unwrapped(runner.model)))
    clock = _TestClock()
    runner.register_hook(clock)
    plain, seconds = runner.test(), clock.seconds
    runner.model = augmented
    # the report and its pictures are those of the plain evaluation
    runner.hooks[:] = [hook for hook in runner.hooks if not isinstance(hook, PanopticReportHook)]
    mean = runner.test()
    figures = ''.join(
        f'{key}: {plain[key]:.2f} -> {value:.2f}\n'
        for key, value in mean.items()
        if isinstance(value, Real)
    )
    runner.logger.info(
        f'Test-time augmentation, from the plain evaluation to the mean:\n{figures}'
        f'seconds: {seconds:.1f} -> {clock.seconds:.1f}'
    )


class _TestClock(Hook):
    """The seconds of a test from its second image on.

    The first one waits for the loading to start, and in the first test for memory and kernels too.
    """

    seconds = 0.0

    def before_test_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        if batch_idx <= 1:  # there may be one image only
            self.start = perf_counter()

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self.seconds = perf_counter() - self.start


@contextmanager
def logged_at_the_end(warnings: list[str]) -> Iterator[None]:
    """Log warnings when the runner has been built, and its log has a file, or has failed to."""
    try:
        yield
    finally:
        for warning in warnings:
            print_log(warning, 'current', logging.WARNING)


def build_runner(cfg: Config) -> Runner:
    """The runner that the config names (``runner_type``).

    Raises:
        UserError: something in the config cannot be used.
    """
    from mmdet.registry import RUNNERS
    from mmdet.utils import setup_cache_size_limit_of_dynamo

    setup_cache_size_limit_of_dynamo()
    with mistakes_as_user_errors():
        itself = cfg.setdefault('runner_type', 'PanopticRunner') == 'PanopticRunner'
        with logged_at_the_end([] if itself else check_config(cfg)):
            return RUNNERS.build(cfg)
