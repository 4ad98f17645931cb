"""The time budget with a clock of the test, so that nothing depends on the machine."""

from types import SimpleNamespace

import pytest
from cmt_deeplab.engine import PanopticTimeBudgetHook
from mmengine.logging import MessageHub


class Run:
    """The train loop's part of a runner, where each iteration takes ``seconds`` on its clock."""

    def __init__(self, *, seconds, max_iters=400, val_interval=100):
        self.now, self.executed, self.validated = 0.0, [], []
        self.hook = PanopticTimeBudgetHook(minutes=1, clock=lambda: self.now)
        self.steps = 0
        scheduler = SimpleNamespace(step=self.step)
        loop = SimpleNamespace(_iter=0, val_interval=val_interval)
        runner = SimpleNamespace(
            max_iters=max_iters,
            train_loop=loop,
            param_schedulers=[scheduler],
            iter=0,
            message_hub=MessageHub(f'budget-{seconds}'),
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
        self.skipped = runner.message_hub.get_info('skipped_iterations', 0)

    def step(self):
        self.steps += 1


def test_a_fast_machine_runs_every_iteration():
    run = Run(seconds=0.14)
    assert run.executed == list(range(400)) and run.skipped == 0


@pytest.mark.parametrize('seconds', [0.3, 1.0, 5.0])
def test_a_slow_machine_ends_in_time_with_the_schedule_at_its_end(seconds):
    run = Run(seconds=seconds)
    assert run.now <= 60 + 4 * 10 * seconds  # the stride before each validation is always run
    assert run.steps == 400 and len(run.executed) + run.skipped == 400
    assert run.validated == [100, 200, 300, 400] and run.skipped > 0
    # the last iteration before each validation is one that the logger writes
    assert {99, 199, 299, 399} <= set(run.executed)
