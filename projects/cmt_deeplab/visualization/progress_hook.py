"""What a person in front of the terminal wants to see of a training run."""

import time
from collections.abc import Sequence

from mmdet.registry import HOOKS
from mmengine.hooks import Hook

from cmt_deeplab.engine.time_budget_hook import PanopticTimeBudgetHook

from .progress import ProgressLine, duration


def panoptic_quality_of(metrics: dict[str, float]) -> float | None:
    """The overall PQ among a metric's results, whatever prefix the metric writes before it."""
    return next((float(v) for k, v in metrics.items() if k.rsplit('/', 1)[-1] == 'PQ'), None)


@HOOKS.register_module()
class PanopticProgressHook(Hook):
    """A progress bar with loss, last PQ and ETA while an iteration-based run trains, and one line for each validation.

    The ETA is the remaining iterations at the speed of the last ``window`` ones plus the remaining validations at the mean time of the past
    ones. ``timeline`` keeps (iteration, seconds since the start of training, validations included) after every iteration, so that curves
    can be drawn over time.
    """

    priority = 'VERY_LOW'

    def __init__(self, *, quiet_interval: float = 30.0, window: int = 50) -> None:
        self.quiet_interval = quiet_interval
        self.window = window
        self.timeline: list[tuple[int, float]] = []
        self._line: ProgressLine | None = None
        self._validation: ProgressLine | None = None
        self._iteration_seconds: list[float] = []
        self._validation_seconds: list[float] = []
        self._note = ''

    def before_train(self, runner) -> None:
        self._line = ProgressLine(
            name='training', total=runner.max_iters, quiet_interval=self.quiet_interval
        )
        self._step_started = time.monotonic()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._step_started = getattr(self, '_step_ended', self._step_started)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        now = time.monotonic()
        self._iteration_seconds = self._iteration_seconds[-self.window + 1 :] + [
            now - self._step_started
        ]
        self._step_ended = now  # the time to fetch the next batch counts as training
        done = runner.iter + 1
        self.timeline.append((done, self._line.elapsed))
        if done == runner.max_iters:
            self._line.finish(self._loss(runner))
        else:
            self._line.update(
                done,
                '  '.join(filter(None, (self._loss(runner), self._note))),
                self._remaining(runner, done),
            )

    def _remaining(self, runner, done: int) -> float:
        recent = [i for i, _ in self.timeline[-self.window :]]
        advanced = recent[-1] - recent[0] + 1  # more than were run where a time budget skips some
        seconds = sum(self._iteration_seconds) / advanced * (runner.max_iters - done)
        if self._validation_seconds:
            interval = runner.train_loop.val_interval
            rounds = -(-runner.max_iters // interval) - done // interval
            seconds += rounds * sum(self._validation_seconds) / len(self._validation_seconds)
        limits = [
            hook.seconds_left for hook in runner.hooks if isinstance(hook, PanopticTimeBudgetHook)
        ]
        return min([seconds, *limits])

    def _loss(self, runner) -> str:
        scalars = runner.message_hub.log_scalars
        return (
            f'loss {scalars["train/loss"].mean(self.window):.3f}' if 'train/loss' in scalars else ''
        )

    def before_val(self, runner) -> None:
        self._validation = ProgressLine(
            name='validating', total=len(runner.val_dataloader), quiet_interval=self.quiet_interval
        )

    def after_val_iter(
        self, runner, batch_idx: int, data_batch=None, outputs: Sequence | None = None
    ) -> None:
        self._validation.update(batch_idx + 1)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        self._validation.clear()
        self._validation_seconds.append(self._validation.elapsed)
        self._step_ended = time.monotonic()
        quality = panoptic_quality_of(metrics or {})
        if quality is None:
            return
        self._note = f'PQ {quality:.1f}'
        if self._line is not None:
            self._line.note(
                f'  iteration {runner.iter}: PQ {quality:.2f} on {len(runner.val_dataloader.dataset)} images '
                f'({duration(self._line.elapsed)} since the start)'
            )
