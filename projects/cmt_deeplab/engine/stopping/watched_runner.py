"""The part of the runner that ends a run early: signals, and processes that stand still."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch.distributed
from mmengine.dist import get_rank, is_distributed
from mmengine.hooks import EMAHook
from mmengine.runner import BaseLoop
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from cmt_deeplab.engine.checkpoint_hook import PanopticCheckpointHook
from cmt_deeplab.engine.distributed import init_process_group
from cmt_deeplab.engine.resuming.resuming_runner import ResumingRunner
from cmt_deeplab.errors import TrainingStopped, mistakes_as_user_errors

from .rank_watch import rank_watch, start_watch
from .stop_signals import StopSignals, shielded

# what a process does after a hook, and where this is in the course of an iteration
TRAINING = 0, 'reading the images of iteration '
EVALUATION = 3, 'reading the images of the evaluation'
AFTER = {
    'before_train_epoch': TRAINING,
    'before_train_iter': (1, 'running the model in iteration '),
    'after_train_iter': TRAINING,
    'before_val_epoch': EVALUATION,
    'before_val_iter': (3, 'running the model in the evaluation'),
    'after_val_iter': EVALUATION,
    'after_val_epoch': TRAINING,
}
# the hooks that write checkpoints or send them, whose time is not limited as that of others
HOOKS = {
    'after_train_iter': 2,
    'after_train_epoch': 2,
    'after_val_epoch': 5,
    'after_train': 6,
    'after_run': 6,
}


class WatchedRunner(ResumingRunner):
    """A runner that stops with a checkpoint when it is asked to, and that does not stand still.

    Of several processes all stop after the same iteration, whichever got the signal.
    """

    _signals: StopSignals | None = None  # while training
    _begun = False  # whether this training has run an iteration

    def train(self) -> nn.Module:
        """As in mmengine, but signals that ask to stop end it with a checkpoint.

        Raises:
            TrainingStopped: a signal has come.
            UserError: training meets a mistake of the user. The same holds for the two below.
        """
        self._begun = False
        with self._watched(), StopSignals(on_first=self._announce) as self._signals:
            try:
                return super().train()
            finally:
                self._signals = None

    def val(self) -> dict:
        with self._watched():
            return super().val()

    def test(self) -> dict:
        with self._watched():
            return super().test()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        watch = rank_watch()
        with mistakes_as_user_errors():
            if watch is None:
                yield
            else:
                with watch.over_a_run():
                    yield

    def setup_env(self, env_cfg: dict) -> None:
        """As in mmengine, after joining the process group, so that mmengine selects no GPU."""
        dist_cfg = env_cfg.get('dist_cfg', {})
        if self.distributed and not is_distributed():
            options = {key: dist_cfg.get(key) for key in ('backend', 'timeout')}
            init_process_group(launcher=self.launcher, **options)
        if is_distributed():
            start_watch(dist_cfg.get('timeout'))
        super().setup_env(env_cfg)

    def build_dataloader(self, *args: Any, **kwargs: Any) -> DataLoader:
        """As in mmengine, with loading processes that no signal to the whole job ends."""
        loader = super().build_dataloader(*args, **kwargs)
        if loader.num_workers:
            loader.worker_init_fn = shielded(loader.worker_init_fn)
            # Of a loading process that has died, the next batch tells within seconds. torch's
            # handler would raise it wherever the program is, such as in the writing of a log.
            signal_handling._SIGCHLD_handler_set = True
        return loader

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As in mmengine; the watch is told where the run is, and the run stops if asked to."""
        kind = fn_name.replace('test', 'val')
        iterations = self._train_loop.iter if isinstance(self._train_loop, BaseLoop) else 0
        iterations += kind == 'after_train_iter'  # the loop counts it after the hooks
        watch, batch = rank_watch(), kwargs.get('batch_idx', 0)
        self._begun |= fn_name == 'after_train_iter'
        if watch and kind in HOOKS:
            watch.now(
                [iterations, HOOKS[kind]],
                'running the hooks after iteration ',
                of=str(iterations),
                slow=True,
            )
        super().call_hook(fn_name, **kwargs)
        if watch and kind in AFTER:
            stage, doing = AFTER[kind]
            loop = self._val_loop if 'val' in fn_name else self._test_loop
            if kind == 'after_val_iter' and batch + 1 == len(loop.dataloader):
                watch.now([iterations, 4], 'computing the figures', slow=True)
            elif stage == 3:
                watch.now([iterations, 3, batch], doing)
            else:
                watch.now([iterations + 1, stage], doing, of=str(iterations + 1))
        if self._signals is not None:
            self._stop_if_asked(fn_name, iterations)

    def _announce(self, asked: signal.Signals) -> None:
        watch = rank_watch()
        if watch is None or not watch.has_ended():  # else the launcher ends what is left
            self.logger.info(
                f'{asked.name}: training stops after this iteration, with a checkpoint; another '
                'signal ends it at once.'
            )

    def _stop_if_asked(self, fn_name: str, iterations: int) -> None:
        """End training where it can be resumed.

        That is after an iteration. In a validation it is after a batch, and of several processes
        after the whole, as they finish their parts at different times. Before the first iteration
        there is nothing to save.
        """
        asked, watch = self._signals.asked, rank_watch()
        if fn_name == 'after_train_iter':
            if watch:
                ahead = getattr(self.optim_wrapper, '_accumulative_counts', 1)  # they do not meet
                ahead += torch.distributed.get_backend() != 'gloo'  # not waiting for the GPU
                asked = watch.agreed_to_stop(asked, iterations, ahead)
            if asked:
                self._stop(asked, iterations)
        elif asked and not self._begun and fn_name.startswith('before_'):
            if watch is None or watch.may_speak(128 + asked):
                level = logging.WARNING if get_rank() == 0 else logging.ERROR  # shown by all
                self.logger.log(level, f'Stopped by {asked.name} before the first iteration.')
            raise TrainingStopped(128 + asked)
        elif asked and watch is None and fn_name in ('before_val_epoch', 'after_val_iter'):
            for hook in self._hooks:
                if isinstance(hook, EMAHook):  # it evaluates its own weights
                    hook.after_val_epoch(self)
            self._stop(asked, iterations)

    def _stop(self, asked: signal.Signals, iterations: int) -> NoReturn:
        """Write a checkpoint, in all processes, and end the run."""
        hooks = [hook for hook in self._hooks if isinstance(hook, PanopticCheckpointHook)]
        end = ', without a checkpoint, as the config has no CheckpointHook'
        if hooks:
            path = hooks[0].save_now(self, iterations=iterations)
            end = f': the checkpoint is {path}; go on with --resume'
            if iterations >= self._train_loop.max_iters:
                end = f', the last one: evaluate {path} with tools/test.py'
        self.call_hook('after_run')  # closes what writes logs
        if watch := rank_watch():
            watch.close()
            torch.distributed.barrier()  # none ends while another one writes
        self.logger.warning(f'Stopped by {asked.name} after iteration {iterations}{end}.')
        raise TrainingStopped(128 + asked)
