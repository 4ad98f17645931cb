"""A training schedule that ends in time on slow machines too."""

import time

from mmdet.registry import HOOKS
from mmengine.hooks import Hook

from cmt_deeplab.errors import UserError


@HOOKS.register_module()
class PanopticTimeBudgetHook(Hook):
    """Ends an iteration-based run after ``minutes`` at the latest, with its learning-rate schedule run to the end.

    A machine fast enough runs every iteration and nothing differs. A slower one falls behind the schedule that would fill the budget; it
    then skips iterations, a multiple of ``stride`` at a time, and the learning rate moves on as if they had been run. Validations (every
    ``val_interval`` iterations) are never skipped, nor is the stride before each. ``skipped`` counts. With ``stride`` equal to the
    logger's interval each logged point stays in place.
    """

    priority = 'HIGHEST'  # the other hooks see the iteration that is run

    def __init__(self, *, minutes: float, stride: int = 10) -> None:
        if minutes <= 0 or stride < 1:
            raise UserError(f'minutes is {minutes} and stride {stride}: both must be positive.')
        self.minutes, self.stride, self.skipped = minutes, stride, 0

    def before_train(self, runner) -> None:
        self._started = time.monotonic()

    @property
    def seconds_left(self) -> float:
        """Of the budget of the run that has begun."""
        return max(0.0, 60 * self.minutes - (time.monotonic() - self._started))

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        done = runner.iter
        if done % self.stride:
            return
        share = (time.monotonic() - self._started) / (60 * self.minutes)
        due = runner.max_iters * (
            share - 0.1 * (1 - share)
        )  # a slow start is forgiven at first, and must be made good by the end
        interval = runner.train_loop.val_interval
        next_stop = min(runner.max_iters, (done // interval + 1) * interval)
        ahead = min(int(due), next_stop - self.stride) - done
        ahead -= ahead % self.stride
        if ahead <= 0:
            return
        for _ in range(ahead):
            for scheduler in runner.param_schedulers or ():
                scheduler.step()
        runner.train_loop._iter += ahead
        self.skipped += ahead
