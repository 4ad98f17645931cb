"""Compares schedulers, hooks and sampler with the unit and the length of the training loop.

A loop by iteration is one long epoch: what counts epochs never acts in it, or acts at once. That is
refused. What lies beyond the end of the run is warned of, as a trial run may mean it.
"""

import re
from typing import Any

import numpy as np
from mmdet.engine.hooks import SetEpochInfoHook
from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, LoggerHook, ParamSchedulerHook, SyncBuffersHook
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop

from cmt_deeplab.construction import name_of
from cmt_deeplab.errors import UserError

from .loader_check import check_end

# attributes of hooks that say when they act in training
TIMES = re.compile('interval|begin|(begin|switch)_(iter|epoch)|patience')
# hooks that act at the ends of epochs without an argument that says so
AT_EPOCHS = (SetEpochInfoHook, SyncBuffersHook)


def check_loop(loop: BaseLoop, runner: Any) -> None:
    """Compare the training loop with the hooks and the data of ``runner``, before it trains.

    Raises:
        UserError: a hook counts epochs in a loop by iteration, the sampler of a loop by epoch
            never ends one, or the loop has no length or no interval of validations.
    """
    name, by_epoch = type(loop).__name__, isinstance(loop, EpochBasedTrainLoop)
    if not by_epoch and not isinstance(loop, IterBasedTrainLoop):
        return
    length = loop.max_epochs if by_epoch else loop.max_iters
    intervals = [loop.val_interval, *loop.dynamic_intervals]
    for key, value in (
        ('max_epochs' if by_epoch else 'max_iters', length),
        *(('val_interval' if i < 1 else 'dynamic_intervals', n) for i, n in enumerate(intervals)),
    ):
        if not _is_whole(value) or value < 1:
            remedy = (
                '; for no validation set val_dataloader, val_cfg and val_evaluator to None'
                if key == 'val_interval'
                else ''
            )
            raise UserError(
                f'train_cfg.{key} is {value}, but must be at least 1 and whole{remedy}.'
            )
    for hook in runner._hooks:
        _check_hook(hook, loop, runner)
    if by_epoch:
        check_end(loop.dataloader, 'train_dataloader', f'the first epoch of {name}')
        batches = all_gather_object(len(loop.dataloader))
        if len(set(batches)) > 1:
            raise UserError(
                f'train_dataloader gives the processes {batches} batches, so {name} would wait '
                'for ever: set round_up=True in train_dataloader.sampler.'
            )
    elif runner.log_processor.by_epoch:
        runner.logger.warning(
            f'log_processor.by_epoch is True, but {name} counts iterations: the log shows one '
            'long epoch; set log_processor.by_epoch=False.'
        )
    for key, last, effect in (
        ('val_begin', loop.val_begin, 'no validation runs'),
        ('val_interval', loop.val_interval, 'one runs at the end'),
        ('dynamic_intervals', max(loop.dynamic_milestones), 'the last one never begins'),
    ):
        if runner._val_loop is not None and last > length:
            runner.logger.warning(
                f'train_cfg.{key}={last} lies beyond the end of training, {length}: {effect}.'
            )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | float) and value % 1 == 0  # 1e4 as well


def _check_hook(hook: Any, loop: BaseLoop, runner: Any) -> None:
    """Look for arguments that count epochs, by the names of a hook's attributes."""
    name = type(hook).__name__
    known = type(hook).__module__.partition('.')[0] in ('mmengine', 'mmdet', 'cmt_deeplab')
    interval = getattr(hook, 'interval', 1)
    if known and not _is_whole(interval):
        raise UserError(f'The hook {name} has interval={interval}, but needs a whole number.')
    followed = getattr(hook, 'monitor', None) or getattr(hook, 'save_best', None)
    if followed and followed != 'auto' and runner._val_loop is None:
        runner.logger.warning(
            f'The hook {name} follows {followed}, but there is no validation: it does nothing '
            'with it without val_dataloader, val_cfg and val_evaluator.'
        )
    if isinstance(hook, CheckpointHook) and not hook.save_last:
        length = loop.max_epochs if hook.by_epoch else loop.max_iters
        if not 0 < hook.interval <= length - hook.save_begin:
            runner.logger.warning(
                f'The hook {name} has interval={hook.interval}, save_begin={hook.save_begin} and '
                f'save_last=False, so that a training of {length} saves no checkpoint by them.'
            )
    _warn_of_late(hook, loop, runner.logger)
    if isinstance(loop, EpochBasedTrainLoop):
        return
    counts = [
        f'{key}={value}'
        for key, value in vars(hook).items()
        if 'epoch' in key and not key.startswith('_') and isinstance(value, int) and value > 0
    ]
    if counts and isinstance(hook, LoggerHook):
        runner.logger.warning(
            f'The hook {name} has {counts[0]}, but {type(loop).__name__} counts iterations: the '
            'metrics of all validations are logged at one step; set log_metric_by_epoch=False.'
        )
    elif counts and not known:
        runner.logger.warning(
            f'The hook {name} has {counts[0]}: if that counts epochs, it has no effect, as '
            f'{type(loop).__name__} counts iterations.'
        )
    elif counts or isinstance(hook, AT_EPOCHS):
        shown = f' ({counts[0]})' if counts else ''
        remedy = "use a loop by epoch, such as train_cfg=dict(type='EpochBasedTrainLoop')"
        if 'by_epoch=True' in counts:
            remedy = 'set by_epoch=False and count its intervals in iterations'
        elif hasattr(hook, 'begin_iter'):
            remedy = 'give begin_iter instead'
        raise UserError(
            f'The hook {name}{shown} counts epochs, but train_cfg.type={type(loop).__name__} '
            f'counts iterations: {remedy}, or remove the hook.'
        )


def _warn_of_late(hook: Any, loop: BaseLoop, logger: Any) -> None:
    """Name what a hook would do after the end of training; its checkpoint is saved there anyway."""
    if isinstance(hook, CheckpointHook):
        return
    in_training = any('train_' in stage for stage in hook.get_triggered_stages())
    for key, value in vars(hook).items():
        if not TIMES.fullmatch(key) or not isinstance(value, int | float):
            continue
        length, unit = loop.max_iters, 'iterations'
        if key == 'patience':
            whole = loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters
            length, unit = whole // min(loop.dynamic_intervals), 'validations'  # at most
        elif not in_training:  # the interval counts images of a validation
            continue
        elif 'epoch' in key or getattr(hook, 'by_epoch', False):
            length, unit = loop.max_epochs, 'epochs'
        if value > length:
            logger.warning(
                f'The hook {type(hook).__name__} has {key}={value}, beyond the end of training '
                f'({length} {unit}), so that it has no effect; that is right for a trial run only.'
            )


def check_schedulers(schedulers: Any, runner: Any) -> None:
    """Compare ``param_scheduler`` of the config, a dict or a list of them, with the training loop.

    Raises:
        UserError: a scheduler counts epochs in a loop by iteration, PanopticWarmupPolyLR stands
            beside another scheduler of the learning rate, or no hook steps the schedulers.
    """
    loop = runner.train_loop
    entries = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    entries = [entry for entry in entries if isinstance(entry, dict) and 'type' in entry]
    kinds = [name_of(entry['type']) for entry in entries]
    others = [kind for kind in kinds if kind != 'PanopticWarmupPolyLR' and 'Momentum' not in kind]
    if others and 'PanopticWarmupPolyLR' in kinds:
        raise UserError(
            f'param_scheduler combines PanopticWarmupPolyLR with {others[0]}, whose learning rates '
            'it overwrites: remove one of the two.'
        )
    if kinds and not any(isinstance(hook, ParamSchedulerHook) for hook in runner.hooks):
        raise UserError(
            f'param_scheduler names {kinds[0]}, but no ParamSchedulerHook steps it, so that the '
            'learning rate keeps its first value: set param_scheduler=None, or restore '
            'default_hooks.param_scheduler.'
        )
    if isinstance(loop, (IterBasedTrainLoop, EpochBasedTrainLoop)):
        for kind, entry in zip(kinds, entries):
            _check_scheduler(entry, f'param_scheduler ({kind})', loop, runner.logger)


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
                f'{place} counts epochs, but train_cfg.type={type(loop).__name__} '
                'counts iterations: set by_epoch=False and give begin, end and milestones in '
                'iterations, or set convert_to_iter_based=True.'
            )
        if 'end' not in config:
            raise UserError(f'{place} with convert_to_iter_based=True needs its end, in epochs.')
        limit = loop.max_iters / len(loop.dataloader)
    unit = 'epochs' if by_epoch else 'iterations'
    times = {key: config[key] for key in ('begin', 'milestones', 'end') if config.get(key)}
    late = [f'{key}={time}' for key, time in times.items() if np.max(time) > limit]
    if late:
        logger.warning(
            f'{place} has {late[0]}, beyond the end of training ({limit:g} '
            f'{unit}); that is right for a trial run only.'
        )
    end = config.get('end', limit)
    lowest = config.get('end_factor', 1) if 'Linear' in place else config.get('eta_min', 0)
    if end < limit and lowest == 0 and any(kind in place for kind in ('Linear', 'Poly', 'Cosine')):
        logger.warning(
            f'{place} reaches 0 at its end={end}, but training goes on to {limit:g} {unit}, and '
            'learns nothing more: take out end, or raise it.'
        )
    early = {key: config[key] for key in ('milestones', 'T_max', 'step_size') if key in config}
    if isinstance(loop, EpochBasedTrainLoop) and not by_epoch:
        early = [f'{key}={time}' for key, time in early.items() if np.max(time) <= loop.max_epochs]
        if early:
            logger.warning(
                f'{place} has by_epoch=False, so that {early[0]} counts iterations, which are over '
                'in the first epochs: set by_epoch=True if epochs are meant.'
            )
