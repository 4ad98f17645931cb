import time
from types import SimpleNamespace

import pytest
from cmt_deeplab.engine.time_budget_hook import PanopticTimeBudgetHook


class Run:
    """The train loop's part of a runner, with a clock of its own: an iteration takes ``seconds``."""

    def __init__(self, hook, monkeypatch, *, seconds, max_iters=400, val_interval=100):
        self.now, self.executed, self.validated = 0.0, [], []
        monkeypatch.setattr(time, 'monotonic', lambda: self.now)
        self.scheduler = SimpleNamespace(steps=0)
        self.scheduler.step = lambda: setattr(self.scheduler, 'steps', self.scheduler.steps + 1)
        loop = SimpleNamespace(_iter=0, val_interval=val_interval)
        runner = SimpleNamespace(
            max_iters=max_iters, train_loop=loop, param_schedulers=[self.scheduler], iter=0
        )
        hook.before_train(runner)
        while loop._iter < max_iters:
            runner.iter = loop._iter
            hook.before_train_iter(runner, loop._iter)
            self.now += seconds
            self.executed.append(loop._iter)
            self.scheduler.step()
            loop._iter += 1
            if loop._iter % val_interval == 0:
                self.validated.append(loop._iter)


def test_a_fast_machine_runs_every_iteration(monkeypatch):
    hook = PanopticTimeBudgetHook(minutes=1)
    run = Run(hook, monkeypatch, seconds=0.14)
    assert run.executed == list(range(400)) and hook.skipped == 0


@pytest.mark.parametrize('seconds', [0.3, 1.0, 5.0])
def test_a_slow_machine_ends_in_time_with_the_schedule_at_its_end(monkeypatch, seconds):
    hook = PanopticTimeBudgetHook(minutes=1)
    run = Run(hook, monkeypatch, seconds=seconds)
    assert run.now <= 60 + 4 * 10 * seconds  # the stride before each validation is always run
    assert run.scheduler.steps == 400 and len(run.executed) + hook.skipped == 400
    assert run.validated == [100, 200, 300, 400]
    logged = {i + 1 for i in run.executed if (i + 1) % 10 == 0}
    assert {100, 200, 300, 400} <= logged and hook.skipped > 0


def test_a_budget_of_nothing_is_refused():
    with pytest.raises(ValueError, match='minutes'):
        PanopticTimeBudgetHook(minutes=0)
