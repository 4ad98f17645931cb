"""The hook that writes a page about a run."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mmdet.registry import HOOKS
from mmengine.dist import broadcast_object_list, is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation import PanopticQualityMetric

from .examples import Example, best_median_worst, example, place_of

# What the page tells of a training and checkpoints keep, by its key in the message hub.
TOLD = {'skipped_iterations': int, 'unlearned_classes': list}


@HOOKS.register_module()
class PanopticReportHook(Hook):
    """Writes ``WORK_DIR/report.html`` after each validation and after a test.

    The page needs no other file and no network. The figures are those that
    :class:`PanopticQualityMetric` keeps. Only its rows are held in memory: the images on the page
    are predicted once more, before other hooks restore the training weights (after the validation
    of an averaged model, for instance).

    Args:
        examples: how many of the best, the middle and the worst images the page shows each.
        title: the heading of the page, or None for the name of the config.
        next_steps: pairs of a sentence and a command, or None for those that suit any run.

    Raises:
        UserError: before the run, if nothing is evaluated or no such metric evaluates it.
    """

    priority = 'VERY_HIGH'

    def __init__(
        self,
        *,
        examples: int = 2,
        title: str | None = None,
        next_steps: Sequence[tuple[str, str]] | None = None,
    ) -> None:
        self.number, self.title, self.next_steps = examples, title, next_steps
        self.examples: list[Example] = []
        self.iteration: int | None = None  # of a checkpoint that is tested
        self.started: float | None = None  # the training

    def before_run(self, runner: Runner) -> None:
        loops = [getattr(runner, f'_{split}_loop', None) for split in ('val', 'test')]
        loops = [loop for loop in loops if isinstance(loop, BaseLoop)]
        if not any(map(pq_metric, loops)):
            raise UserError(
                'PanopticReportHook needs figures to report: give the config a val_dataloader and '
                "val_evaluator=dict(type='PanopticQualityMetric')."
            )

    def before_train(self, runner: Runner) -> None:
        self.started = time.monotonic()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        self.iteration = checkpoint.get('meta', {}).get('iter')
        told = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
        for name, kind in TOLD.items():
            # a run that goes on with training has its own
            if not isinstance(runner._train_loop, BaseLoop) and isinstance(told.get(name), kind):
                runner.message_hub.update_info(name, told[name])

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._predict(runner, runner.val_loop)

    def after_test_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        self._predict(runner, runner.test_loop)

    def after_val(self, runner: Runner) -> None:
        self._write(runner, runner.val_loop)

    def after_test(self, runner: Runner) -> None:
        self._write(runner, runner.test_loop)

    def _predict(self, runner: Runner, loop: BaseLoop) -> None:
        """Predict the examples anew, in all processes, as a sharded model needs them all."""
        metric, chosen = pq_metric(loop), [[]]
        self.examples.clear()
        if metric is None:
            return
        with self._not_at_any_price(runner):
            if is_main_process():
                for name, key, quality in best_median_worst(metric.images, self.number):
                    place = place_of(loop.dataloader.dataset, key)
                    chosen[0].append((f'{name}: PQ {quality:.1f}', place))
        broadcast_object_list(chosen)
        with self._not_at_any_price(runner):
            for name, place in chosen[0]:
                self.examples.append(example(runner.model, loop, metric, place=place, name=name))

    @master_only
    def _write(self, runner: Runner, loop: BaseLoop) -> None:
        metric = pq_metric(loop)
        if metric is None:
            return
        with self._not_at_any_price(runner):
            from .page import write_page  # matplotlib and jinja2

            path = write_page(runner, loop, metric, hook=self)
            runner.logger.info(f'The report of this run is {path}')

    @contextmanager
    def _not_at_any_price(self, runner: Runner) -> Iterator[None]:
        """A training of days goes on where its report fails; the log has the whole error."""
        try:
            yield
        except Exception:
            if not isinstance(runner._train_loop, BaseLoop):
                raise
            runner.logger.exception('The report of this run is not complete:')


def pq_metric(loop: BaseLoop) -> PanopticQualityMetric | None:
    """The metric of a loop that counts PQ."""
    for metric in loop.evaluator.metrics:
        if isinstance(metric, PanopticQualityMetric) and not metric.format_only:
            return metric
    return None
