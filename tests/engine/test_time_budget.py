"""The time budget with a clock of the test, so that nothing depends on the machine."""

from types import SimpleNamespace

import pytest
from cmt_deeplab.engine import PanopticTimeBudgetHook
from mmengine.logging import MessageHub


class Run:
    """The train loop's part of a runner, where iterations and validations take time."""

    def __init__(self, *, seconds, validation=0, max_iters=400, val_interval=100):
        self.now, self.executed, self.validated = 0.0, [], []
        self.hook = PanopticTimeBudgetHook(minutes=1, clock=lambda: self.now)
        self.steps, self.warnings = 0, []
        scheduler = SimpleNamespace(step=self.step)
        loop = SimpleNamespace(_iter=0, val_interval=val_interval)
        runner = SimpleNamespace(
            max_iters=max_iters,
            train_loop=loop,
            param_schedulers=[scheduler],
            iter=0,
            message_hub=MessageHub(f'budget-{seconds}'),
            logger=SimpleNamespace(warning=self.warnings.append),
        )
        self.hook.before_train(runner)
        while loop._iter < max_iters:
            runner.iter = loop._iter
            self.hook.before_train_iter(runner, loop._iter)
            self.now += seconds
            self.executed.append(loop._iter)
            self.step()
            loop._iter += 1
            if loop._iter % val_interval == 0:
                self.validated.append(loop._iter)
                self.now += validation
        self.hook.after_train(runner)
        self.skipped = runner.message_hub.get_info('skipped_iterations', 0)

    def step(self):
        self.steps += 1


def test_a_fast_machine_runs_every_iteration():
    run = Run(seconds=0.14)
    assert run.executed == list(range(400)) and run.skipped == 0 and run.warnings == []


@pytest.mark.parametrize('seconds, validation', [(0.3, 0), (1.0, 0), (5.0, 0), (0.3, 50)])
def test_a_slow_machine_ends_in_time_with_the_schedule_at_its_end(seconds, validation):
    run = Run(seconds=seconds, validation=validation)
    # the stride and the validation that the time ends in, and the last ones
    assert run.now <= 60 + 2 * (10 * seconds + validation)
    assert run.steps == 400 and len(run.executed) + run.skipped == 400
    assert run.skipped > 0 and run.validated[-1] == 400
    assert seconds == 5 or validation or run.validated == [100, 200, 300, 400]
    # the last iteration before each validation is one that the logger writes
    assert {iteration - 1 for iteration in run.validated} <= set(run.executed)
    first, last = run.warnings
    assert 'longer than 1 minutes: it skips iterations from now on' in first
    assert last.startswith(f'{run.skipped} of the 400 iterations were skipped to end in 1 minutes')
