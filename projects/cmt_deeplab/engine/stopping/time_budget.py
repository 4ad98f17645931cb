"""A training schedule that ends in time on slow machines too."""

import time
from collections.abc import Callable
from typing import Any

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class PanopticTimeBudgetHook(Hook):
    """Ends an iteration-based run after ``minutes``, with its learning rate at the schedule's end.

    A machine that is fast enough runs every iteration, as without this hook. A slower one falls
    behind the pace that would use up the budget. It then skips iterations, a multiple of ``stride``
    at a time, and the learning rate moves on as if they had been run. Until the time is used up,
    every validation (every ``val_interval`` iterations) and the ``stride`` iterations before it are
    run. After that only the last of them are, so a slow machine ends a little later. The message
    hub counts the skipped iterations as ``skipped_iterations``, and there are two warnings: when
    the first are skipped, and at the end. ``clock`` returns seconds.
    """

    priority = 'HIGHEST'  # so that the other hooks see the iteration that is run

    def __init__(
        self, *, minutes: float, stride: int = 10, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.minutes, self.stride, self.clock = minutes, stride, clock

    def before_train(self, runner: Runner) -> None:
        self.started = self.clock()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        done = runner.iter
        if done % self.stride:
            return
        used = (self.clock() - self.started) / (60 * self.minutes)
        # A slow start is forgiven at first, and must be made good by the end.
        due = int(runner.max_iters * (1.1 * used - 0.1))
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
        skipped = runner.message_hub.get_info('skipped_iterations', 0)
        if not skipped:
            runner.logger.warning(
                f'At the present speed the training takes longer than {self.minutes:g} minutes: it '
                'skips iterations from now on.'
            )
        runner.message_hub.update_info('skipped_iterations', skipped + ahead)

    def after_train(self, runner: Runner) -> None:
        if skipped := runner.message_hub.get_info('skipped_iterations', 0):
            runner.logger.warning(
                f'{skipped:,} of the {runner.max_iters:,} iterations were skipped to end in '
                f'{self.minutes:g} minutes: a longer time, or a machine that does nothing else, '
                'gives a better model.'
            )
