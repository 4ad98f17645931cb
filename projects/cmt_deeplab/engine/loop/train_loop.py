"""A training loop whose resumed runs continue exactly."""

from numbers import Integral
from typing import Any

import torch
from mmdet.registry import LOOPS
from mmengine.dist import all_gather_object
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from cmt_deeplab.engine.class_check import unwrapped

from .accumulation import gradients_so_far, restore_gradients
from .batch_stream import BatchStream
from .random_state import seed_generators

VERSION = 2  # of the state; 1, without a number, kept the states of random generators


@LOOPS.register_module()
class PanopticIterBasedTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration-based loop, resumed exactly and without reading the data of the past.

    All random numbers follow from the seed of the run: those of an image from the iteration and its
    place in it, see :class:`.batch_stream.BatchStream`, and those of the model from the iteration.
    The order of the images is replayed to the iteration of the checkpoint by counting indices. So a
    killed and resumed run gives the same parameters as an uninterrupted one, bit by bit, with any
    sampler, batch sampler and number of loading processes. Where the order is another one, a
    warning says so. Validation does not change what training draws.
    """

    def __init__(self, runner: Any, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        BaseLoop.__init__(self, runner, dataloader)  # builds the data loader
        self.stream = BatchStream(self.dataloader)
        super().__init__(runner, self.dataloader, **kwargs)
        # made when the first iteration is known, because loading processes read ahead at once
        self.dataloader_iterator = None
        self._resumed: dict | None = None
        self._validated = 0  # the iteration of the last validation

    def state_dict(self) -> dict:
        """What a resumed run needs in addition to the iteration, the weights and the optimizer.

        It is the seed of the sampler, the checksum of the order of the images, the number of draws
        that a model with ``seed_per_image`` counts, the gradients of half an accumulation, the
        iteration of the last validation, and where an ``EarlyStoppingHook`` stands. All processes
        call this together.
        """
        seed = getattr(self.stream.sampler, 'seed', None)  # of your own, it may be anything
        return dict(
            version=VERSION,
            processes=self.runner.world_size,
            sampler_seed=int(seed) if isinstance(seed, Integral) and seed >= 0 else None,
            digest=self._digest(),
            last_draw=getattr(unwrapped(self.runner.model), '_last_draw', None),
            gradients=gradients_so_far(self.runner),
            validated=self._validated,
            early_stopping={
                hook.monitor: (float(hook.best_score), hook.wait_count)
                for hook in self._early_stopping()
            },
        )

    def _early_stopping(self) -> list[EarlyStoppingHook]:
        return [hook for hook in self.runner.hooks if isinstance(hook, EarlyStoppingHook)]

    def load_state_dict(self, state: dict) -> None:
        """Keep what :meth:`state_dict` returned until the loop runs."""
        self._resumed, self._validated = state, state.get('validated', 0)
        if state.get('last_draw'):
            unwrapped(self.runner.model)._last_draw = tuple(state['last_draw'])
        standing = state.get('early_stopping') or {}
        for hook in self._early_stopping():
            hook.best_score, hook.wait_count = standing.get(hook.monitor) or (
                hook.best_score,
                hook.wait_count,
            )

    def restore_gradients(self) -> None:
        """Set the gradients of half an accumulation, where the state that was loaded has some."""
        gradients = (self._resumed or {}).get('gradients')
        if gradients and self._iter < self._max_iters:
            restore_gradients(gradients, self.runner)

    def _start_data(self) -> None:
        """Make the iterator of the data loader, at the iteration at which this run starts."""
        stored = self._resumed or {}
        seed = stored.get('sampler_seed')
        if self._iter and hasattr(self.stream.sampler, 'seed') and seed is not None:
            self.stream.sampler.seed = seed  # the first run may have drawn it
        seed = all_gather_object(self.runner.seed)[0]  # of the others, the rank may be part
        self.stream.begin(at=self._iter, seed=seed)
        self.dataloader_iterator = iter(self.dataloader)
        if self._iter and self._resumed is not None:
            self._compare_order()

    def _digest(self) -> int:
        """The checksum of the images of all processes, which call it together."""
        return sum(all_gather_object(self.stream.digest)) % 2**32

    def _compare_order(self) -> None:
        """Say where the images up to the checkpoint had another order, or cannot be compared."""
        stored, path, warn = self._resumed, self.runner._load_from, self.runner.logger.warning
        digest = self._digest()
        if 'version' not in stored:
            warn(
                f'The checkpoint {path} is of an earlier release, which drew in another way: the '
                'images go on in the order that follows from the seed, and augmentation and what '
                'the model draws, such as dropout, are other than in an unbroken run.'
            )
        elif digest != stored.get('digest'):
            names = type(self.stream.batch_sampler).__name__, type(self.stream.sampler).__name__
            warn(
                f'Up to iteration {self._iter} the images came in another order than that of '
                f'{names[0]} over {names[1]} now, so the resumed run may leave images out of this '
                'pass over the data, or see them again. The order is the same with the same number '
                'of images in an iteration of all processes, the same data set and '
                'randomness.seed, and where that of the sampler follows from its seed and its '
                'epoch.'
            )
        elif stored.get('processes') != self.runner.world_size:
            warn(
                f'The checkpoint {path} is of another number of processes than the '
                f'{self.runner.world_size} of this run: each iteration has the same images with '
                'the same augmentation, and what the model draws for a batch, such as dropout, is '
                'other than in an unbroken run.'
            )

    def _validate_if_due(self) -> None:
        """Validate every ``val_interval`` iterations and at the end, once."""
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is None or self._iter < self.val_begin or not due:
            return
        if self._validated != self._iter:
            self.runner.val_loop.run()
            self._validated = self._iter

    def run(self) -> torch.nn.Module:
        """Train to ``max_iters``.

        A checkpoint is saved before the validation of its iteration, so a resumed run begins with
        this validation.
        """
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        if self._iter < self._max_iters:
            self._start_data()
        if 0 < self._iter <= self._max_iters:
            self._decide_current_val_interval()
            self._validate_if_due()
        runner.model.train()  # so that backbones freeze what they have to
        while self._iter < self._max_iters and not self.stop_training:
            if not (runner.model.training and unwrapped(runner.model).training):
                runner.model.train()  # which walks through all modules
            batch = next(self.dataloader_iterator)
            self.stream.take()
            seed_generators('model', runner.seed, self._iter)
            self.run_iter(batch)
            self._decide_current_val_interval()
            self._validate_if_due()
        self.dataloader_iterator = self.dataloader._iterator = None  # ends the loading processes
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model
