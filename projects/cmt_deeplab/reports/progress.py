"""The progress of a run in the terminal."""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich import get_console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cmt_deeplab.engine.runner import PanopticRunner

from .early_figures import in_words

INTERVAL = 10  # iterations after which the bar shows the loss anew


def progress_bar() -> Progress:
    """A bar for each task with its note and the time left or, at its end, the time it took."""
    return Progress(
        TextColumn('{task.description:17}'),
        BarColumn(16),
        MofNCompleteColumn(),
        TextColumn('{task.fields[note]}'),
        TimeRemainingColumn(elapsed_when_finished=True),
        speed_estimate_period=60,
        # The processes that load data inherit the output as it is now, not one with a lock inside.
        redirect_stdout=False,
        redirect_stderr=False,
    )


class AboveTheBars(logging.Handler):
    """Shows warnings and errors on the console of ``progress_bar``, where they stay."""

    def emit(self, record: logging.LogRecord) -> None:
        text = f'  {record.levelname.lower()}: {self.format(record)}'
        get_console().print(text, markup=False, highlight=False, soft_wrap=True)


class QuietRunner(PanopticRunner):
    """Logs to the file; the terminal shows the progress, and warnings and errors of the log."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        handler = AboveTheBars('WARNING')
        handler.filters = logger.handlers[0].filters  # which leave out what was said before
        handler.addFilter(lambda record: 'deprecated' not in record.getMessage())  # of mmengine
        logger.handlers[0] = handler
        return logger


class ProgressHook(Hook):
    """Shows loss and PQ on a bar while a run trains, and one line for each validation.

    If the output is not a terminal, there is also a line after each tenth of the run.
    """

    priority = 'VERY_LOW'

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.loss = self.quality = ''  # the latest ones, as text

    def before_train(self, runner: Runner) -> None:
        self.training = self.bar.add_task('training', total=runner.max_iters, note='')
        self.started, self.tenth = time.monotonic(), 10 * runner.iter // runner.max_iters

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        done = runner.iter + 1
        tenth = 10 * done // runner.max_iters
        if done % INTERVAL == 0 or tenth > self.tenth:
            loss = runner.message_hub.get_scalar('train/loss').mean(50)  # which waits for a GPU
            self.loss = f'loss {loss:.3f}'
        note = self.loss + self.quality
        self.bar.update(self.training, completed=done, note=note)
        if not self.bar.console.is_terminal and tenth > self.tenth:
            self._say(f'training {done}/{runner.max_iters}: {note}')
        self.tenth = tenth

    def before_val(self, runner: Runner) -> None:
        batches = len(runner.val_dataloader)
        self.validating = self.bar.add_task('validating', total=batches, note='')

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence = ()
    ) -> None:
        self.bar.advance(self.validating)

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float]) -> None:
        self.bar.remove_task(self.validating)
        minutes = (time.monotonic() - self.started) / 60
        said = in_words(metrics, len(runner.val_dataloader.dataset))
        self.quality = f'  {said.partition(" (")[0]}'
        self._say(f'iteration {runner.iter}: {said}, {minutes:.1f} min after the start')

    def after_early_figures(self, runner: Runner, figures: Mapping[str, float], said: str) -> None:
        self._say(said)

    def _say(self, line: str) -> None:
        """A line that stays, above the bars."""
        self.bar.console.print(f'  {line}', highlight=False, soft_wrap=True)
