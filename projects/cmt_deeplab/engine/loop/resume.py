"""What a resumed run takes from its checkpoint, and what from its own config.

The checkpoint gives weights, moments of the optimizer, the iteration, and the random numbers with
their seed. All else is what the config of the resumed run says, as if it had been so from the
start: learning rates follow the present schedule. Every difference is logged before training.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop

from cmt_deeplab.construction import config_entries, name_of
from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.errors import UserError

COMPARED = (
    'model',
    'train_dataloader',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'randomness',
    'default_hooks',
    'custom_hooks',
)
# of the data loader, which gives the same batches with any of them
WITHOUT_EFFECT = ('num_workers', 'persistent_workers', 'prefetch_factor', 'pin_memory')
# attributes of a scheduler that say where it stands, or that follow from the optimizer; the last
# three are of ReduceOnPlateauLR
NO_SETTINGS = (
    'optimizer',
    'base_values',
    '_global_step',
    'last_step',
    '_last_value',
    'best',
    'num_bad_epochs',
    'cooldown_counter',
)


def settings_of(runner: Any) -> dict:
    """What a checkpoint tells about its run, in plain values.

    ``config`` holds values of the config by their dotted keys, ``parameters`` the names of the
    optimizer's parameters in its order.
    """
    entries = config_entries({key: runner.cfg.get(key) for key in COMPARED})
    config = {
        place: value if isinstance(value, str | int | float | None) else name_of(value)
        for place, value in entries
        if not isinstance(value, Mapping | list | tuple) and not place.endswith(WITHOUT_EFFECT)
    }
    config['the number of processes'] = runner.world_size
    config['the number of training images'] = len(runner.train_dataloader.dataset)
    settings = dict(config=config, epochs=isinstance(runner.train_loop, EpochBasedTrainLoop))
    if not isinstance(runner.optim_wrapper, OptimWrapperDict):  # of several optimizers
        names = {id(tensor): name for name, tensor in unwrapped(runner.model).named_parameters()}
        groups = runner.optim_wrapper.optimizer.param_groups
        tensors = [tensor for group in groups for tensor in group['params']]
        settings['parameters'] = [names.get(id(tensor), f'{i}') for i, tensor in enumerate(tensors)]
        settings['optimizer'] = type(runner.optim_wrapper.optimizer).__name__
    return settings


def without_functions(state: dict) -> dict:
    """The entries of a dict that are no functions."""
    return {key: value for key, value in state.items() if not callable(value)}


def adapt(checkpoint: dict, runner: Any) -> None:
    """Change a checkpoint, which mmengine is about to load, to the settings of this run.

    Raises:
        UserError: resuming makes no sense; the message names the difference and ``load_from``.
    """
    stored, present, path = checkpoint.get('settings', {}), runner.settings, runner._load_from
    if 'optimizer' not in checkpoint or not {'epoch', 'iter'} <= checkpoint.get('meta', {}).keys():
        raise _refusal(
            path,
            'it holds no state of an optimizer, like those of save_best',
            'resume one named iter_N.pth or epoch_N.pth',
        )
    if present['epochs'] and not stored.get('epochs', True):
        raise _refusal(
            path, 'its run counted iterations and this one epochs', 'correct train_cfg.type'
        )
    found = {}
    if 'parameters' in present:
        found = _adapt_optimizer(checkpoint, runner)
    differences = _differences(stored['config'], present['config']) if 'config' in stored else found
    if any(key.endswith(('.rule', '.save_best', '.save_best.0')) for key in differences):
        for history in map(checkpoint['message_hub'].get, ('runtime_info', 'resumed_keys')):
            for key in [key for key in history if key.startswith(('best_score', 'best_ckpt'))]:
                del history[key]  # of another figure
    if 'ema_state_dict' in checkpoint and not any(isinstance(h, EMAHook) for h in runner.hooks):
        for key, value in checkpoint['ema_state_dict'].items():  # mmengine swaps the two
            if key.startswith('module.'):
                checkpoint['state_dict'][key.removeprefix('module.')] = value
    if differences:
        lines = (
            f'{key}: {new} now, {old} in the checkpoint'
            + ', which stays' * (key == 'randomness.seed')
            for key, (old, new) in differences.items()
        )
        runner.logger.warning(
            f'The checkpoint {path} is of a run with other settings. Those of now '
            'apply, as if they had been so from the start:\n  ' + '\n  '.join(lines)
        )


def load_instead(path: str) -> str:
    """What else one can do with a checkpoint."""
    return f"train on from its weights with load_from='{path}', without resuming"


def _refusal(path: str, why: str, remedy: str) -> UserError:
    return UserError(
        f'The checkpoint {path} cannot be resumed, as {why}: {remedy}, or {load_instead(path)}.'
    )


def _differences(stored: dict, present: dict) -> dict[str, tuple]:
    """The stored and the present value of each setting where they differ."""
    different = {
        key: (stored.get(key, 'not set'), present.get(key, 'not set'))
        for key in {**present, **stored}
        if stored.get(key, 'not set') != present.get(key, 'not set')
    }
    if present.get('randomness.seed') is None:  # the user leaves the seed open
        different.pop('randomness.seed', None)
    return different


def _adapt_optimizer(checkpoint: dict, runner: Any) -> dict[str, tuple]:
    """Give the optimizer of the checkpoint the groups and learning rates of this run.

    Returns:
        What is different in groups and schedules that both have.
    """
    optim_wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    stored, names = checkpoint['optimizer'], runner.settings['parameters']
    old_names = _matching_names(checkpoint, runner)
    old = _rules(stored['param_groups'], checkpoint.get('param_schedulers', []))
    new = _rules(optim_wrapper.optimizer.param_groups, [vars(each) for each in schedulers])
    if old == new and old_names == names:
        return {}
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        raise _refusal(
            runner._load_from,
            'ReduceOnPlateauLR depends on the figures of the past, and settings are others',
            'restore them',
        )
    _repeat_steps(schedulers, optim_wrapper, checkpoint['meta'])
    number_of = {name: number for number, name in enumerate(old_names)}
    states = {number: stored['state'].get(number_of[name]) for number, name in enumerate(names)}
    scaler = {key: stored[key] for key in ('loss_scaler',) if key in stored}
    checkpoint['optimizer'] = {
        **optim_wrapper.state_dict(),
        **scaler,
        'state': {number: state for number, state in states.items() if state is not None},
    }
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]
    return _differences({key: old[key] for key in new if key in old}, new)


def _rules(groups: list[dict], schedules: list[dict]) -> dict:
    """The settings of parameter groups and schedulers, without where they stand."""
    rules = {
        f'group {number} of the optimizer: {key.removeprefix("initial_")}': value
        for number, group in enumerate(groups)
        for key, value in group.items()
        if key != 'params' and f'initial_{key}' not in group
    }
    for number, schedule in enumerate(schedules):
        for key, value in without_functions(schedule).items():
            if key not in NO_SETTINGS:
                rules[f'param_scheduler.{number}.{key}'] = value
    return rules


def _repeat_steps(schedulers: list, optim_wrapper: OptimWrapper, meta: dict) -> None:
    """Step new schedulers to the iteration and epoch of a checkpoint."""
    optim_wrapper._global_step = 0  # mmengine warns of schedulers that step before the optimizer
    epoch = 0
    for iteration in range(1, meta['iter'] + 1):
        for scheduler in schedulers:
            if not scheduler.by_epoch:
                scheduler.step()
        while epoch < meta['epoch'] * iteration // meta['iter']:
            epoch += 1
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()


def _matching_names(checkpoint: dict, runner: Any) -> list[str]:
    """The names of the parameters whose state the checkpoint has, in its order.

    Checkpoints of former versions do not tell them; there the sizes of the groups have to agree.

    Raises:
        UserError: it is the state of another optimizer or of other parameters.
    """
    path, optimizer = runner._load_from, runner.optim_wrapper.optimizer
    stored, groups = checkpoint['optimizer'], optimizer.param_groups
    settings, names = checkpoint.get('settings', {}), runner.settings['parameters']
    old_kind, kind = settings.get('optimizer'), type(optimizer).__name__
    keys = [each[0].keys() - {'initial_lr'} for each in (stored['param_groups'], groups)]
    if old_kind not in (None, kind) or not (keys[0] <= keys[1] or keys[1] <= keys[0]):
        raise _refusal(
            path,
            f'it holds the state of {old_kind or "another optimizer"}, and optim_wrapper.optimizer '
            f'is {kind}',
            'restore the optimizer',
        )
    old_names = settings.get('parameters')
    if old_names is None:
        sizes = [
            [len(group['params']) for group in each] for each in (stored['param_groups'], groups)
        ]
        if sizes[0] != sizes[1]:
            raise _refusal(
                path,
                f'its optimizer has parameter groups of {sizes[0]} tensors, and that of the config '
                f'has {sizes[1]} (version 0.1.0 decayed relative positions as well)',
                'restore optim_wrapper',
            )
        old_names = names
    for who, other in (('this run', set(old_names)), ('its run', set(names))):
        trained = next((name for name in (*names, *old_names) if name not in other), None)
        if trained:
            raise _refusal(
                path, f'only {who} trains {trained!r}', 'freeze the same parts as in its run'
            )
    return old_names
