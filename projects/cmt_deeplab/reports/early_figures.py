"""PQ of some of the validation images, between the validations."""

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dataset import DefaultSampler
from mmengine.dist import all_gather_object
from mmengine.hooks import EMAHook, Hook, IterTimerHook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.amp import autocast
from torch.utils.data import DataLoader, Subset

from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation.panoptic_metric import FIGURES
from cmt_deeplab.evaluation.pq import aggregate

from .history import EARLY, GROUPS
from .hook import pq_metric


@HOOKS.register_module()
class PanopticEarlyFiguresHook(Hook):
    """Computes PQ on the same few validation images every ``interval`` iterations.

    The images are drawn at random, but are the same in all runs on these data. When a validation is
    due, no early figures are made. The log and all backends of the visualizer get
    ``early_N_images/PQ``, and ``PQ_th`` of things and ``PQ_st`` of stuff. The best checkpoint,
    early stopping and the report still go by the validations. An averaged model (``EMAHook``) is
    evaluated in place of the trained one, as in a validation. Several processes share the images.
    Other hooks get the figures and a sentence by a method
    ``after_early_figures(runner, figures, said)``.

    Args:
        interval: in iterations; by default half of the interval of the validations.
        images: their number; all validation images, if there are fewer.

    Raises:
        UserError: before the run, if no validation counts PQ.
    """

    priority = 'VERY_LOW'  # after the average of the weights is updated

    def __init__(self, *, interval: int | None = None, images: int = 50) -> None:
        for key, value in dict(interval=interval, images=images).items():
            if value is not None and value < 1:
                raise UserError(
                    f'PanopticEarlyFiguresHook: {key} is {value}, but must be at least 1.'
                )
        self._interval, self.images = interval, images
        self._loader: DataLoader | None = None

    def before_train(self, runner: Runner) -> None:
        if runner.val_loop is None or pq_metric(runner.val_loop) is None:
            raise UserError(
                'PanopticEarlyFiguresHook evaluates images of the validation: give the config a '
                "val_dataloader and val_evaluator=dict(type='PanopticQualityMetric')."
            )
        loop = runner.train_loop
        unit = len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else 1
        self._begin, self._validation = loop.val_begin * unit, loop.val_interval * unit
        self._interval = self._interval or max(1, self._validation // 2)
        self._last = runner.iter // self._interval

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done = runner.iter + 1
        if done // self._interval == self._last:
            return
        self._last = done // self._interval  # a time budget may have skipped the multiple itself
        due = done >= self._begin and done % self._validation == 0
        if due or done == runner.max_iters:
            return
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        for hook in averages:
            hook.before_val_epoch(runner)
        figures = self._evaluate(runner)
        for hook in averages:
            hook.after_val_epoch(runner)
        number = len(self._loader.dataset)
        names = {f'{EARLY}{number}_images/{key}': value for key, value in figures.items()}
        runner.visualizer.add_scalars(names, step=done)
        said = in_words(figures, f'{number} of {len(runner.val_loop.dataloader.dataset)}')
        said = f'early figures at iteration {done}: {said}'
        runner.logger.info(said)
        runner.call_hook('after_early_figures', figures=names, said=said)
        for hook in runner.hooks:
            if isinstance(hook, IterTimerHook):
                hook.before_train_epoch(runner)  # the clock of the next iteration starts now

    @torch.no_grad()
    def _evaluate(self, runner: Runner) -> dict[str, float]:
        """The figures in percent, in all processes."""
        self._loader = self._loader or self._loader_of(runner.val_loop.dataloader)
        metric = copy(pq_metric(runner.val_loop))  # which writes no file and keeps its figures
        metric._written, metric.results = None, []
        mode = runner.model.training
        runner.model.eval()
        for batch in self._loader:
            with autocast(enabled=runner.val_loop.fp16):
                samples = runner.model.val_step(batch)
            metric.process(batch, [sample.to_dict() for sample in samples])
        runner.model.train(mode)
        parts = all_gather_object(metric.results)
        # a sampler may have repeated images so that all processes have equally many
        images = {result[:2]: result[2] for part in parts for result in part}
        meta = metric.dataset_meta
        kinds = {k: name in meta['thing_classes'] for k, name in enumerate(meta['classes'])}
        figures = aggregate((score.counts for score in images.values()), kinds)
        return {key: 100 * figures[FIGURES[key][0]]['pq'] for key in GROUPS}

    def _loader_of(self, loader: DataLoader) -> DataLoader:
        """A data loader like that of the validation, for the chosen images."""
        number = len(loader.dataset)
        chosen = np.random.default_rng(0).permutation(number)[: self.images]
        part = Subset(loader.dataset, sorted(chosen.tolist()))
        return DataLoader(
            part,
            batch_size=loader.batch_size or 1,
            sampler=DefaultSampler(part, shuffle=False),
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
            pin_memory=loader.pin_memory,
        )


def in_words(figures: Mapping[str, float], images: int | str) -> str:
    """A sentence with PQ of all, things and stuff; ``figures`` have names with any prefix."""
    values = {name.rpartition('/')[2]: value for name, value in figures.items()}
    shown = 'PQ {PQ:.2f} (things {PQ_th:.2f}, stuff {PQ_st:.2f})'.format(**values)
    return f'{shown} on {images} images'
