"""What a resumed run takes from its checkpoint, and what from its own config.

The checkpoint gives weights, moments of the optimizer, the iteration, and the random numbers with
their seed. All else is what the config of the resumed run says, as if it had been so from the
start: learning rates follow the present schedule. Every difference is logged before training.
"""

from typing import Any

from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper
from torch import Tensor

from cmt_deeplab.errors import UserError

from .checkpoint_form import misfit, misfit_moments
from .settings import differences, without_functions

# choices of the machine, which change nothing that is computed
OF_THE_MACHINE = {'fused', 'foreach'}
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


def _complete(checkpoint: dict) -> bool:
    return {'optimizer', 'meta', 'message_hub'} <= checkpoint.keys()


def check_form(checkpoint: dict, runner: Any, path: str) -> None:
    """Check the entries of a checkpoint before mmengine and its hooks read them.

    Raises:
        UserError: one has another form than training writes, such as text in place of a number.
    """
    if not _complete(checkpoint):
        return  # weights alone are first compared with the model
    place = misfit(checkpoint, one_optimizer=isinstance(runner.optim_wrapper, OptimWrapper))
    if place:
        raise _refusal(
            path,
            f'its entry {place} is missing or has a form that this release does not write',
            'resume one that training wrote, with the release that wrote it',
        )


def adapt(checkpoint: dict, runner: Any) -> None:
    """Change a checkpoint, which mmengine is about to load, to the settings of this run.

    Raises:
        UserError: resuming makes no sense; the message names the difference and ``load_from``.
    """
    stored, present, path = checkpoint.get('settings', {}), runner.settings, runner._load_from
    if not _complete(checkpoint):
        raise _refusal(
            path,
            'it holds no state of an optimizer, like those of save_best and save_optimizer=False',
            'resume one that holds it',
        )
    if present['epochs'] and not stored.get('epochs', True):
        raise _refusal(
            path, 'its run counted iterations and this one epochs', 'correct train_cfg.type'
        )
    found = _adapt_optimizer(checkpoint, runner) if 'parameters' in present else {}
    found = differences(stored['config'], present['config']) if 'config' in stored else found
    if any(key.endswith(('.rule', '.save_best', '.save_best.0')) for key in found):
        for history in map(checkpoint['message_hub'].get, ('runtime_info', 'resumed_keys')):
            for key in [key for key in history if key.startswith(('best_score', 'best_ckpt'))]:
                del history[key]  # of another figure
    if 'ema_state_dict' in checkpoint and not any(isinstance(h, EMAHook) for h in runner.hooks):
        for key, value in checkpoint['ema_state_dict'].items():  # mmengine swaps the two
            if key.startswith('module.'):
                checkpoint['state_dict'][key.removeprefix('module.')] = value
    # when checkpoints are written changes nothing that is learned
    found = {k: v for k, v in found.items() if not k.startswith('default_hooks.checkpoint.')}
    if found:
        lines = (
            f'{key}: {new} now, {old} in the checkpoint'
            + ', which stays' * (key == 'randomness.seed')
            for key, (old, new) in found.items()
        )
        runner.logger.warning(
            f'The checkpoint {path} is of a run with other settings. This run goes on with its '
            'own, and its learning rates are those of a run that had them from the start:\n  '
            + '\n  '.join(lines)
        )


def load_instead(path: str) -> str:
    """What else one can do with a checkpoint."""
    return f"train on from its weights with load_from='{path}', without resuming"


def _refusal(path: str, why: str, remedy: str) -> UserError:
    return UserError(
        f'The checkpoint {path} cannot be resumed, as {why}: {remedy}, or {load_instead(path)}.'
    )


def _adapt_optimizer(checkpoint: dict, runner: Any) -> dict[str, tuple]:
    """Give the optimizer of the checkpoint the groups and learning rates of this run.

    Returns:
        What is different in groups and schedules, of all that both tell.
    """
    optim_wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    stored, names = checkpoint['optimizer'], runner.settings['parameters']
    old_names = _matching_names(checkpoint, runner)
    fault = misfit_moments(checkpoint, old_names, runner)
    if fault:
        remedy = 'restore the arguments of the optimizer, or resume an earlier checkpoint'
        raise _refusal(runner._load_from, fault, remedy)
    positions = checkpoint.get('param_schedulers', [])
    follow = any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers)
    for state, scheduler in zip(positions, schedulers):
        for key in state.keys() - scheduler.state_dict().keys():
            del state[key]
        if getattr(scheduler, 'need_val_args', False):  # another end changes nothing of the past
            state['end'] = scheduler.end
    old = _rules(stored['param_groups'], positions)
    new = _rules(optim_wrapper.optimizer.param_groups, [vars(each) for each in schedulers])
    same = old == new and old_names == names
    if follow and same:
        return {}
    if follow:
        raise _refusal(
            runner._load_from,
            'ReduceOnPlateauLR followed the figures of a run with other settings',
            'restore optim_wrapper and param_scheduler',
        )
    _repeat_steps(schedulers, optim_wrapper, checkpoint['meta'], runner.max_iters)
    # within an epoch, the iterations at which the epochs before it ended are not known
    if same and any(each.by_epoch for each in schedulers) and _stands_at(schedulers, positions):
        return {}
    states = {
        names.index(name): stored['state'][number]
        for number, name in enumerate(old_names)
        if number in stored['state']
    }
    scaler = {key: stored[key] for key in ('loss_scaler',) if key in stored}
    checkpoint['optimizer'] = {**optim_wrapper.state_dict(), **scaler, 'state': states}
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]
    return differences(
        {key: value for key, value in old.items() if key in new},
        {key: value for key, value in new.items() if key in old},
    )


def _stands_at(schedulers: list, states: list[dict]) -> bool:
    """Whether the schedules of a checkpoint have made the steps that those of this run made."""
    return all(
        vars(scheduler)[key] == state.get(key)
        for scheduler, state in zip(schedulers, states)
        for key in ('_global_step', 'last_step')
    )


def _rules(groups: list[dict], schedules: list[dict]) -> dict:
    """The settings of parameter groups and schedulers, without where they stand."""
    rules = {
        f'{key.removeprefix("initial_")} of group {number} of the optimizer': _plain(value)
        for number, group in enumerate(groups)
        for key, value in group.items()
        if key not in {'params', *OF_THE_MACHINE} and f'initial_{key}' not in group
    }
    return rules | {
        f'param_scheduler.{number}.{key}': _plain(value)
        for number, schedule in enumerate(schedules)
        for key, value in without_functions(schedule).items()
        if key not in NO_SETTINGS
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value


def _repeat_steps(schedulers: list, optim_wrapper: OptimWrapper, meta: dict, end: int) -> None:
    """Step new schedulers to the iteration and epoch of a checkpoint, but not beyond ``end``."""
    optim_wrapper._global_step = 0  # mmengine warns of schedulers that step before the optimizer
    schedulers = sorted(schedulers, key=lambda scheduler: scheduler.by_epoch)
    epoch, iterations = 0, min(meta['iter'], end)
    for iteration in range(1, iterations + 1):
        before, epoch = epoch, meta['epoch'] * iteration // iterations
        for scheduler in schedulers:
            if not scheduler.by_epoch or epoch > before:
                scheduler.step()


def _matching_names(checkpoint: dict, runner: Any) -> list[str]:
    """The names of the parameters whose state the checkpoint has, in its order.

    Checkpoints of former versions do not tell them; there the sizes of the groups have to agree.

    Raises:
        UserError: it is the state of another optimizer or of other parameters.
    """
    path, optimizer = runner._load_from, runner.optim_wrapper.optimizer
    groups = checkpoint['optimizer']['param_groups'], optimizer.param_groups
    settings, names = checkpoint.get('settings', {}), runner.settings['parameters']
    kinds = settings.get('optimizer', 'another optimizer'), type(optimizer).__name__
    keys = [set().union(*each[:1]) - {'initial_lr', *OF_THE_MACHINE} for each in groups]
    agree = keys[0] <= keys[1] or keys[1] <= keys[0]  # versions of torch differ in some
    if not agree or ('optimizer' in settings and kinds[0] != kinds[1]):
        raise _refusal(
            path,
            f'it holds the state of {kinds[0]}, and optim_wrapper.optimizer is {kinds[1]}',
            'restore the optimizer',
        )
    sizes = [[len(group['params']) for group in each] for each in groups]
    if 'parameters' not in settings and sizes[0] != sizes[1]:
        raise _refusal(
            path,
            f'its optimizer has parameter groups of {sizes[0]} tensors, and that of the config '
            f'has {sizes[1]} (version 0.1.0 decayed relative positions as well)',
            'restore optim_wrapper',
        )
    old_names = settings.get('parameters', names)
    for who, trained in (
        ('this run', set(names) - set(old_names)),
        ('its run', set(old_names) - set(names)),
    ):
        if trained:
            raise _refusal(
                path, f'only {who} trains {min(trained)!r}', 'freeze the same parts as in its run'
            )
    return old_names
