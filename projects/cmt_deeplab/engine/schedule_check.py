"""Compares schedulers and hooks with the unit and the length of the training loop.

A loop by iteration is one long epoch: what counts epochs never acts in it, or acts at once. That is
refused. What lies beyond the end of the run is warned of, as a trial run may mean it.
"""

from typing import Any

import numpy as np
from mmdet.datasets.samplers import MultiSourceSampler
from mmdet.engine.hooks import SetEpochInfoHook
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import LoggerHook, SyncBuffersHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

from cmt_deeplab.construction import name_of
from cmt_deeplab.errors import UserError

# hooks that act at the ends of epochs without an argument that says so
AT_EPOCHS = (SetEpochInfoHook, SyncBuffersHook)
ENDLESS = (InfiniteSampler, MultiSourceSampler)


def check_loop(loop: BaseLoop, runner: Any) -> None:
    """Compare the training loop with the hooks and the data of ``runner``, before it trains.

    Raises:
        UserError: a hook counts epochs in a loop by iteration, the sampler of a loop by epoch
            never ends one, or there is no interval of validations.
    """
    name = type(loop).__name__
    if isinstance(loop, IterBasedTrainLoop):
        length = loop.max_iters
        for hook in runner._hooks:
            _check_hook(hook, name, runner.logger)
        if runner.log_processor.by_epoch:
            runner.logger.warning(
                f'log_processor.by_epoch is True, but {name} counts iterations: the log shows one '
                'long epoch; set log_processor.by_epoch=False.'
            )
    elif isinstance(loop, EpochBasedTrainLoop):
        length = loop.max_epochs
        batch_sampler = loop.dataloader.batch_sampler
        for sampler in (loop.dataloader.sampler, getattr(batch_sampler, 'sampler', None)):
            if isinstance(sampler, ENDLESS):
                raise UserError(
                    f'train_dataloader.sampler {type(sampler).__name__} never ends the first epoch '
                    f"of {name}: use dict(type='DefaultSampler', shuffle=True), or a loop by "
                    'iteration.'
                )
    else:
        return
    if loop.val_interval < 1:
        raise UserError(
            f'train_cfg.val_interval is {loop.val_interval}, but must be at least 1; for no '
            'validation set val_dataloader, val_cfg and val_evaluator to None.'
        )
    if runner._val_loop is not None and loop.val_begin > length:
        runner.logger.warning(
            f'train_cfg.val_begin={loop.val_begin} lies beyond the end of training, {length}: no '
            'validation runs.'
        )


def _check_hook(hook: Any, loop: str, logger: Any) -> None:
    """Look for arguments that count epochs, by the names of a hook's attributes."""
    name = type(hook).__name__
    counts = [
        f'{key}={value}'
        for key, value in vars(hook).items()
        if 'epoch' in key and not key.startswith('_') and isinstance(value, int) and value > 0
    ]
    if counts and isinstance(hook, LoggerHook):
        logger.warning(
            f'The hook {name} has {counts[0]}, but {loop} counts iterations: the metrics of all '
            'validations are logged at one step; set log_metric_by_epoch=False.'
        )
    elif counts or isinstance(hook, AT_EPOCHS):
        shown = f' ({counts[0]})' if counts else ''
        remedy = "use a loop by epoch, such as train_cfg=dict(type='EpochBasedTrainLoop')"
        if 'by_epoch=True' in counts:
            remedy = 'set by_epoch=False and count its intervals in iterations'
        elif hasattr(hook, 'begin_iter'):
            remedy = 'give begin_iter instead'
        raise UserError(
            f'The hook {name}{shown} counts epochs, but train_cfg.type={loop} counts iterations: '
            f'{remedy}, or remove the hook.'
        )


def check_schedulers(schedulers: Any, loop: BaseLoop, logger: Any) -> None:
    """Compare ``param_scheduler`` of the config, a dict or a list of them, with the training loop.

    Raises:
        UserError: a scheduler counts epochs in a loop by iteration, or PanopticWarmupPolyLR stands
            beside another scheduler of the learning rate.
    """
    entries = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    entries = [entry for entry in entries if isinstance(entry, dict) and 'type' in entry]
    kinds = [name_of(entry['type']) for entry in entries]
    others = [kind for kind in kinds if kind != 'PanopticWarmupPolyLR' and 'Momentum' not in kind]
    if others and 'PanopticWarmupPolyLR' in kinds:
        raise UserError(
            f'param_scheduler combines PanopticWarmupPolyLR with {others[0]}, whose learning rates '
            'it overwrites: remove one of the two.'
        )
    if isinstance(loop, (IterBasedTrainLoop, EpochBasedTrainLoop)):
        for kind, entry in zip(kinds, entries):
            _check_scheduler(entry, f'param_scheduler ({kind})', loop, logger)


def _check_scheduler(config: dict, place: str, loop: BaseLoop, logger: Any) -> None:
    by_epoch = config.get('by_epoch', True)
    limit = loop.max_epochs if by_epoch else loop.max_iters
    if 'Plateau' in place and isinstance(loop, IterBasedTrainLoop):
        raise UserError(
            f'{place} acts at the ends of epochs alone, but train_cfg.type={type(loop).__name__} '
            "counts iterations: use train_cfg=dict(type='EpochBasedTrainLoop'), or another "
            'scheduler.'
        )
    if by_epoch and isinstance(loop, IterBasedTrainLoop):
        if not config.get('convert_to_iter_based'):
            raise UserError(
                f'{place} counts epochs, but train_cfg.type={type(loop).__name__} counts '
                'iterations: set by_epoch=False and give begin, end and milestones in iterations, '
                'or set convert_to_iter_based=True.'
            )
        if 'end' not in config:
            raise UserError(f'{place} with convert_to_iter_based=True needs its end, in epochs.')
        limit = loop.max_iters / len(loop.dataloader)
    times = {key: config[key] for key in ('begin', 'milestones', 'end') if config.get(key)}
    late = [f'{key}={time}' for key, time in times.items() if np.max(time) > limit]
    if late:
        logger.warning(
            f'{place} has {late[0]}, beyond the end of training ({limit:g} '
            f'{"epochs" if by_epoch else "iterations"}); that is right for a trial run only.'
        )
