"""A training loop whose resumed runs continue exactly."""

import random
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmdet.registry import LOOPS
from mmengine.dataset import InfiniteSampler
from mmengine.runner import IterBasedTrainLoop

from cmt_deeplab.errors import UserError


def random_state() -> dict:
    """The states of the random generators of this process: Python, numpy, torch, current GPU.

    They are of types that a checkpoint read as weights only may hold.
    """
    kind, keys, *rest = np.random.get_state()
    state = dict(
        python=random.getstate(), numpy=(kind, keys.tolist(), *rest), torch=torch.get_rng_state()
    )
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Set what :func:`random_state` returned, also after a checkpoint moved it to a GPU."""
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    kind, keys, *rest = state['numpy']
    np.random.set_state((kind, [int(key) for key in keys], *rest))  # version 0.1.0 kept a tensor
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


@LOOPS.register_module()
class PanopticIterBasedTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration-based loop, resumed exactly and without reading the data of the past.

    The sampler is moved to the iteration of the checkpoint by counting indices, and the random
    generators continue from the states that ``PanopticRunner`` put into the checkpoint. So with
    ``num_workers=0`` and one process, a killed and resumed run gives the same parameters as an
    uninterrupted one, bit by bit.

    Data-loading processes are seeded anew by seed and iteration, and the generators of a
    distributed run by the seed. There the images are those of the uninterrupted run, but their
    augmentation is another draw. Validation leaves the generators as it found them.

    Raises:
        UserError: the run was resumed with a sampler other than InfiniteSampler.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # made when the first iteration is known, because loading processes read ahead at once
        self.dataloader_iterator = None
        self._resumed: dict | None = None

    def state_dict(self) -> dict:
        """What a resumed run needs in addition to the iteration, the weights and the optimizer.

        It is the seed of the sampler, and the generators of the first process.
        """
        seed = getattr(self.dataloader.sampler, 'seed', None)
        return dict(sampler_seed=seed, random=random_state())

    def load_state_dict(self, state: dict) -> None:
        """Keep what :meth:`state_dict` returned until the loop runs."""
        self._resumed = state

    def _start_data(self) -> None:
        """Make the iterator of the data loader, at the iteration at which this run starts."""
        sampler = self.dataloader.sampler
        endless = isinstance(sampler, InfiniteSampler)
        if self._iter and not endless:
            raise UserError(
                f'train_dataloader.sampler is {type(sampler).__name__}, which cannot be moved to '
                f"iteration {self._iter}; use dict(type='InfiniteSampler') to resume."
            )
        resumed = self._resumed if self._iter else None
        if resumed:
            sampler.seed = resumed['sampler_seed']  # the first run may have drawn it
        if endless:
            # also without resuming: mmengine's constructor reads ahead and so ends the sampler
            seen = self._iter * self.dataloader.batch_size  # images of this process
            sampler.indices = islice(sampler._indices_of_rank(), seen, None)
        if self._iter and self.dataloader.worker_init_fn is not None:
            seed = (self.runner.seed + self._iter) % 2**31
            self.dataloader.worker_init_fn = partial(self.dataloader.worker_init_fn, seed=seed)
        self.dataloader_iterator = iter(self.dataloader)  # draws a seed for the loading processes
        if resumed and self.runner.world_size == 1:
            set_random_state(resumed['random'])

    def _next_batch(self) -> Any:
        try:
            return next(self.dataloader_iterator)
        except StopIteration:  # the sampler makes one pass over the data
            self._epoch += 1
            if hasattr(self.dataloader.sampler, 'set_epoch'):
                self.dataloader.sampler.set_epoch(self._epoch)
            self.dataloader_iterator = iter(self.dataloader)
            return next(self.dataloader_iterator)

    def run(self) -> torch.nn.Module:
        """Train to ``max_iters``, validating every ``val_interval`` iterations and at the end."""
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
