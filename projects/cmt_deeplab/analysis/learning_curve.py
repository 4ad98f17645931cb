"""Short trainings of several models under equal conditions: PQ over iterations and over time."""

import time
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from cmt_deeplab.engine import PanopticRunner
from cmt_deeplab.errors import UserError
from cmt_deeplab.mmdet_config import set_length

from .compared_model import ComparedModel, SharedData, quality

COLORS = ('#2f5fb3', '#c8632a', '#1f8a7a', '#8a4fa8', '#b3892f', '#1c2430', '#c0392b', '#7f8c8d')


class CurveHook(Hook):
    """Keeps the figures of each validation, with the time of the training steps up to it.

    Loading and validation do not count: wall time is that between a batch and the end of its step,
    and ``processor`` that of this process meanwhile, which other work on the machine disturbs less.
    """

    def __init__(self, model: ComparedModel) -> None:
        self.model, self.wall, self.processor = model, 0.0, 0.0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        self.started = time.perf_counter(), time.process_time()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall += time.perf_counter() - self.started[0]
        self.processor += time.process_time() - self.started[1]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        figures = dict(quality(metrics), wall_s=self.wall, processor_s=self.processor)
        self.model.curve.append(dict(iteration=runner.iter, **figures))
        print(f'{self.model.name}: iteration {runner.iter}, PQ {figures["PQ"]:.2f}', flush=True)


def training_config(
    model: ComparedModel, data: SharedData, *, iterations: int, seed: int, work_dir: Path
) -> Config:
    """The config of a short training.

    The model, the optimizer, the schedule brought to ``iterations``, the pipelines and the custom
    hooks are those of the model's config; the images, their order, the batch, the metric and the
    runtime are those of the data's, so that they are equal for all models.
    """
    own, config = deepcopy(model.config), deepcopy(data.config)
    set_length(own, iterations)
    config.model, config.optim_wrapper = own.model, own.optim_wrapper
    config.param_scheduler = own.param_scheduler
    config.custom_hooks = own.get('custom_hooks') or []
    for split in ('train', 'val'):
        config[f'{split}_dataloader'].dataset = data.dataset_config(model, split)
        config[f'{split}_dataloader'].persistent_workers = False
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        config.pop(key, None)
    config.train_cfg = dict(
        type='PanopticIterBasedTrainLoop',
        max_iters=iterations,
        val_interval=max(1, iterations // 10),
    )
    config.val_cfg = dict(type='ValLoop')
    config.log_processor = dict(type='LogProcessor', by_epoch=False)
    config.randomness = dict(seed=seed)
    config.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=iterations, save_optimizer=False
    )
    config.work_dir, config.launcher, config.log_level = str(work_dir), 'none', 'ERROR'
    config.load_from, config.resume = model.checkpoint, False
    config.experiment_name = model.name
    return config


def train(model: ComparedModel, data: SharedData, **options: Any) -> None:
    """Train a model for some iterations; its network then has the trained weights.

    Raises:
        UserError: the model starts from a checkpoint of other classes.
    """
    if model.other_classes:
        raise UserError(
            f'{model.checkpoint} has other classes than the data: leave it out to train.'
        )
    runner = PanopticRunner.from_cfg(training_config(model, data, **options))
    runner.register_hook(CurveHook(model))
    runner.train()
    model.network, model.trained = runner.model, True


def draw_curves(models: Sequence[ComparedModel], path: str) -> None:
    """PQ over iterations, and over the minutes in training steps, as a picture.

    The minutes are those of the processor, and of the wall where a GPU has trained.
    """
    figure = Figure((9.6, 3.9), layout='constrained', dpi=110)
    left, right = figure.subplots(1, 2, sharey=True)
    on_gpu = torch.cuda.is_available()
    clock, name = ('wall_s', 'minutes') if on_gpu else ('processor_s', 'minutes of the processor')
    left.set(xlabel='iterations', ylabel='PQ on the validation images')
    right.set(xlabel=f'{name} in training steps')
    for axes, key, scale in ((left, 'iteration', 1), (right, clock, 60)):
        for model, color in zip(models, COLORS * len(models)):
            times = [point[key] / scale for point in model.curve]
            values = [point['PQ'] for point in model.curve]
            if times:
                axes.plot(times, values, 'o-', color=color, markersize=3.5, label=model.name)
        axes.set(xlim=(0, None), ylim=(0, None))
        axes.spines[['right', 'top']].set_visible(False)
        axes.grid(alpha=0.3)
    left.legend(frameon=False, loc='upper left')
    figure.savefig(path)
