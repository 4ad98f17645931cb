"""A training schedule that ends in time on slow machines too."""

import time
from collections.abc import Callable
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner

from cmt_deeplab.errors import UserError


@HOOKS.register_module()
class PanopticTimeBudgetHook(Hook):
    """Ends an iteration-based run after ``minutes``, with its learning rate at the schedule's end.

    A machine that is fast enough runs every iteration, as without this hook. A slower one falls
    behind the pace that would use up the budget. It then skips iterations, a multiple of ``stride``
    at a time, and the learning rate moves on as if they had been run. Until the time is used up,
    every validation (every ``val_interval`` iterations) and the ``stride`` iterations before it are
    run. After that only the last of them are, so a slow machine ends a little later. The message
    hub counts the skipped iterations as ``skipped_iterations``, and there are two warnings: when
    the first are skipped, and at the end.

    Args:
        minutes: the budget.
        stride: iterations after which the time is looked at.
        stretch: 2 lets the run take up to twice the minutes where it waits for the processor: the
            budget counts the processor time of the thread that trains, and at least half of the
            time that passes. A warning tells the user. With a GPU leave it at 1, as there the
            thread also waits for the GPU.
        clock, own_clock: the time that passes and that of the processor, in seconds.

    Raises:
        UserError: one of the numbers is too small.
    """

    priority = 'HIGHEST'  # so that the other hooks see the iteration that is run

    def __init__(
        self,
        *,
        minutes: float,
        stride: int = 10,
        stretch: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        own_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        if minutes <= 0 or stride < 1 or stretch < 1:
            raise UserError(
                f'PanopticTimeBudgetHook has minutes={minutes}, stride={stride} and '
                f'stretch={stretch}: minutes must be above 0, the others at least 1.'
            )
        self.minutes, self.stride, self.stretch = minutes, stride, stretch
        self.clock, self.own_clock = clock, own_clock

    def before_train(self, runner: Runner) -> None:
        self.started, self.own_started = self.clock(), self.own_clock()
        self.allowed, self.skips = self.minutes, False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        done = runner.iter
        if done % self.stride:
            return
        times = [self.clock() - self.started, self.own_clock() - self.own_started]
        times = torch.tensor(times, dtype=torch.float64)
        all_reduce(times, 'max')  # so that processes that train together skip the same
        passed, own = times.tolist()
        used = max(passed / self.stretch, own) / (60 * self.minutes)

        def pace(share: float) -> int:
            """The iterations due; a slow start is forgiven, and must be made good by the end."""
            return int(runner.max_iters * (1.1 * share - 0.1))

        due, due_by_clock = pace(used), pace(passed / (60 * self.minutes))
        if self.allowed == self.minutes and max(due, done) < due_by_clock:
            self.allowed = self.stretch * self.minutes
            runner.logger.warning(
                f'Other programs, or slow data, leave the training {own / passed:.0%} of a '
                f'processor: it takes up to {self.allowed:g} minutes in place of {self.minutes:g}.'
            )
        interval = runner.train_loop.val_interval
        next_stop = (done // interval + 1) * interval if used < 1 else runner.max_iters
        next_stop = min(runner.max_iters, next_stop)
        ahead = (min(due, next_stop - self.stride) - done) // self.stride * self.stride
        if ahead <= 0:
            return
        for _ in range(ahead):
            for scheduler in runner.param_schedulers or ():
                scheduler.step()
        runner.train_loop._iter += ahead
        if not self.skips:
            self.skips = True
            runner.logger.warning(
                f'At the present speed the training takes longer than {self.allowed:g} minutes: it '
                'skips iterations from now on.'
            )
        skipped = runner.message_hub.get_info('skipped_iterations', 0)  # of a resumed run, too
        runner.message_hub.update_info('skipped_iterations', skipped + ahead)

    def after_train(self, runner: Runner) -> None:
        if skipped := runner.message_hub.get_info('skipped_iterations', 0):
            runner.logger.warning(
                f'{skipped:,} of the {runner.max_iters:,} iterations were skipped to end in '
                f'{self.allowed:g} minutes: a longer time, or a machine that does nothing else, '
                'gives a better model.'
            )
