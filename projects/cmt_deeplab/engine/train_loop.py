"""A training loop whose resumed runs continue exactly."""

import random
from functools import partial
from typing import Any

import numpy as np
import torch
from mmdet.registry import LOOPS
from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop

from cmt_deeplab.errors import UserError


def random_state() -> dict:
    """The states of this process's random generators (Python, numpy, torch, the current GPU), in types that a weights-only load takes."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    version, internal, gauss = random.getstate()
    state = dict(
        python=(version, list(internal), gauss),
        numpy=(kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Sets what ``random_state`` returned."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    kind, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@LOOPS.register_module()
class PanopticIterBasedTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration-based loop, resumed exactly and without reading the data of the past.

    The sampler is moved to the iteration of the checkpoint by counting indices; the random generators continue from the states that
    ``PanopticRunner`` put into the checkpoint. So with ``num_workers=0`` in one process a killed and resumed run gives the parameters of
    an uninterrupted one, bit by bit. Loading processes are seeded anew by (seed, iteration), and in distributed runs the generators by the
    seed: there the images are those of the uninterrupted run, their augmentation is another draw. Validation leaves the generators as it
    found them.

    Raises:
        ValueError: resumed with a sampler other than InfiniteSampler.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader_iterator = None  # made in run(), when the first iteration is known: loading processes read ahead at once
        self._resumed: dict | None = None

    def state_dict(self) -> dict:
        """What a resumed run needs beside iteration, weights and optimizer: the sampler's seed, the generators of the first process."""
        return dict(
            sampler_seed=getattr(self.dataloader.sampler, 'seed', None), random=random_state()
        )

    def load_state_dict(self, state: dict) -> None:
        """Keeps what ``state_dict`` returned until the loop runs."""
        self._resumed = state

    def _start_data(self) -> None:
        seen = self._iter * (self.dataloader.batch_size or 0)  # images of this process
        sampler = self.dataloader.sampler
        if isinstance(
            sampler, InfiniteSampler
        ):  # stock mmengine reads ahead in the constructor; dropping that reader ended the sampler
            sampler.indices = sampler._indices_of_rank()
        if seen:
            if not isinstance(sampler, InfiniteSampler):
                raise UserError(
                    f'train_dataloader.sampler is {type(sampler).__name__}, which cannot be moved to iteration {self._iter}; '
                    "use dict(type='InfiniteSampler') to resume."
                )
            if self._resumed is not None:
                sampler.seed = self._resumed[
                    'sampler_seed'
                ]  # without a seed in the config, that of the first run
            indices = sampler._indices_of_rank()
            for _ in range(seen):
                next(indices)
            sampler.indices = indices
            if self.dataloader.worker_init_fn is not None:
                seed = (self.runner.seed + self._iter) % 2**31
                self.dataloader.worker_init_fn = partial(self.dataloader.worker_init_fn, seed=seed)
        self.dataloader_iterator = iter(self.dataloader)  # draws a seed for the loading processes
        if seen and self._resumed is not None and self.runner.world_size == 1:
            set_random_state(self._resumed['random'])

    def _next_batch(self) -> Any:
        try:
            return next(self.dataloader_iterator)
        except StopIteration:  # a sampler of one pass over the data
            self._epoch += 1
            if hasattr(self.dataloader.sampler, 'set_epoch'):
                self.dataloader.sampler.set_epoch(self._epoch)
            self.dataloader_iterator = iter(self.dataloader)
            return next(self.dataloader_iterator)

    def run(self) -> torch.nn.Module:
        """Trains to ``max_iters``, validating every ``val_interval`` iterations and at the end."""
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self._start_data()
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.run_iter(self._next_batch())
            self._decide_current_val_interval()
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if runner.val_loop is not None and self._iter >= self.val_begin and due:
                state = random_state()
                runner.val_loop.run()
                set_random_state(state)
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model
