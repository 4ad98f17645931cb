"""The time budget with a clock of the test, so that nothing depends on the machine."""

from types import SimpleNamespace

import pytest
import torch
from cmt_deeplab.engine import PanopticTimeBudgetHook, PanopticWarmupPolyLR
from cmt_deeplab.errors import UserError
from mmengine.dist import get_rank
from mmengine.logging import MessageHub
from processes import in_processes


class Run:
    """The train loop's part of a runner, where iterations and validations take time."""

    def __init__(
        self,
        *,
        seconds,
        validation=0,
        max_iters=400,
        val_interval=100,
        share=1.0,
        stretch=1.0,
        skipped=0,
    ):
        self.now, self.executed, self.validated = 0.0, [], []
        self.hook = PanopticTimeBudgetHook(
            minutes=1,
            stretch=stretch,
            clock=lambda: self.now,
            own_clock=lambda: share * self.now,  # of the processor, which others use too
        )
        self.rates, self.warnings = [], []
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        scheduler = PanopticWarmupPolyLR(optimizer, warmup=10, end=max_iters, by_epoch=False)
        optimizer.step()  # mmengine asks for one before the schedule's first
        loop = SimpleNamespace(_iter=0, val_interval=val_interval)
        runner = SimpleNamespace(
            max_iters=max_iters,
            train_loop=loop,
            param_schedulers=[scheduler],
            iter=0,
            message_hub=MessageHub(f'budget-{seconds}'),
            logger=SimpleNamespace(warning=self.warnings.append),
        )
        runner.message_hub.update_info('skipped_iterations', skipped)
        self.hook.before_train(runner)
        while loop._iter < max_iters:
            runner.iter = loop._iter
            self.hook.before_train_iter(runner, loop._iter)
            self.now += seconds
            self.executed.append(loop._iter)
            self.rates.append(optimizer.param_groups[0]['lr'])
            scheduler.step()
            loop._iter += 1
            if loop._iter % val_interval == 0:
                self.validated.append(loop._iter)
                self.now += validation
        self.hook.after_train(runner)
        self.skipped = runner.message_hub.get_info('skipped_iterations', 0)


@pytest.fixture(scope='module')
def whole_schedule():
    """The learning rate at each iteration of a run that skips none."""
    return Run(seconds=0.01).rates


def test_a_fast_machine_runs_every_iteration():
    run = Run(seconds=0.14)
    assert run.executed == list(range(400)) and run.skipped == 0 and run.warnings == []


@pytest.mark.parametrize('seconds, validation', [(0.3, 0), (1.0, 0), (5.0, 0), (0.3, 50)])
def test_a_slow_machine_ends_in_time_with_the_schedule_at_its_end(
    seconds, validation, whole_schedule
):
    run = Run(seconds=seconds, validation=validation)
    # the stride and the validation that the time ends in, and the last ones
    assert run.now <= 60 + 2 * (10 * seconds + validation)
    # each iteration has the learning rate of its place in the schedule, the last one nearly none
    assert run.rates == pytest.approx([whole_schedule[i] for i in run.executed])
    assert run.rates[-1] < 0.01 and len(run.executed) + run.skipped == 400
    assert run.skipped > 0 and run.validated[-1] == 400
    assert seconds == 5 or validation or run.validated == [100, 200, 300, 400]
    # the last iteration before each validation is one that the logger writes
    assert {iteration - 1 for iteration in run.validated} <= set(run.executed)
    first, last = run.warnings
    assert 'longer than 1 minutes: it skips iterations from now on' in first
    assert last.startswith(f'{run.skipped} of the 400 iterations were skipped to end in 1 minutes')


def test_a_resumed_run_tells_anew_and_counts_what_was_skipped_before():
    run = Run(seconds=1.0, skipped=20)
    assert 'skips iterations from now on' in run.warnings[0]
    assert run.skipped == 20 + 400 - len(run.executed)


@pytest.mark.parametrize(
    'share, least, minutes', [(0.97, 400, 1), (0.6, 400, 1.6), (0.2, 170, 2.2)]
)
def test_beside_other_programs_it_takes_longer_before_it_skips(share, least, minutes):
    """An iteration costs 0.14 s of the processor, of which the training gets a share."""
    alone = Run(seconds=0.14 / share, share=share)
    run = Run(seconds=0.14 / share, share=share, stretch=2.0)
    assert len(run.executed) >= max(least, len(alone.executed)) and run.now <= 60 * minutes
    assert run.rates[-1] < 0.01 and not any('leave' in warning for warning in alone.warnings)
    told = f'leave the training {share:.0%} of a processor: it takes up to 2 minutes in place of 1.'
    assert [told in warning for warning in run.warnings[:1]] == [True] * (share < 0.97)
    if run.skipped:
        assert f'{run.skipped} of the 400 iterations were skipped to end in 2' in run.warnings[-1]


def executed_at_own_speed():
    return Run(seconds=0.3 + 0.1 * get_rank(), share=0.9 - 0.4 * get_rank(), stretch=2.0).executed


def test_processes_that_train_together_skip_the_same_iterations():
    first, second = in_processes(2, executed_at_own_speed)
    assert first == second and len(first) < 400


@pytest.mark.parametrize('wrong', [dict(minutes=0), dict(minutes=1, stretch=0.5)])
def test_numbers_that_are_too_small_are_refused(wrong):
    with pytest.raises(UserError, match='PanopticTimeBudgetHook has minutes=.*above 0'):
        PanopticTimeBudgetHook(**wrong)
