"""A training loop whose resumed runs continue exactly."""

from typing import Any

import torch
from mmdet.registry import LOOPS
from mmengine.dist import all_gather_object, get_rank
from mmengine.runner import BaseLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from cmt_deeplab.engine.class_check import unwrapped

from .batch_stream import BatchStream
from .random_state import random_state, set_random_state


@LOOPS.register_module()
class PanopticIterBasedTrainLoop(IterBasedTrainLoop):
    """mmengine's iteration-based loop, resumed exactly and without reading the data of the past.

    The order of the images is replayed to the iteration of the checkpoint by counting indices, see
    :class:`.batch_stream.BatchStream`, and the random generators of every process continue from
    the states that ``PanopticRunner`` put into the checkpoint. So a killed and resumed run gives
    the same parameters as an uninterrupted one, bit by bit, with any sampler, batch sampler and
    number of loading processes. Where the order cannot be replayed, or the number of processes is
    another, a warning says so. Validation leaves the generators as it found them.
    """

    def __init__(self, runner: Any, dataloader: DataLoader | dict, **kwargs: Any) -> None:
        BaseLoop.__init__(self, runner, dataloader)  # builds the data loader
        self.stream = BatchStream(self.dataloader)
        super().__init__(runner, self.dataloader, **kwargs)
        # made when the first iteration is known, because loading processes read ahead at once
        self.dataloader_iterator = None
        self._resumed: dict | None = None
        self._before_validation: dict | None = None

    def state_dict(self) -> dict:
        """What a resumed run needs in addition to the iteration, the weights and the optimizer.

        It is the seed of the sampler, the checksum of the order of the images in the first process,
        the number of draws that a model with ``seed_per_image`` counts, and the random generators
        of all processes, which call this together.
        """
        return dict(
            last_draw=getattr(unwrapped(self.runner.model), '_last_draw', None),
            sampler_seed=getattr(self.stream.sampler, 'seed', None),
            digest=self.stream.digest,
            random=all_gather_object(self._before_validation or random_state()),
        )

    def load_state_dict(self, state: dict) -> None:
        """Keep what :meth:`state_dict` returned until the loop runs."""
        self._resumed = state

    def _start_data(self) -> None:
        """Make the iterator of the data loader, at the iteration at which this run starts."""
        resumed = self._resumed if self._iter else None
        if resumed and hasattr(self.stream.sampler, 'seed'):
            self.stream.sampler.seed = resumed['sampler_seed']  # the first run may have drawn it
        self.stream.begin(at=self._iter, seeds=(self.runner.seed, get_rank()))
        self.dataloader_iterator = iter(self.dataloader)  # draws a seed for the loading processes
        if resumed:
            if resumed.get('last_draw'):
                unwrapped(self.runner.model)._last_draw = tuple(resumed['last_draw'])
            self._compare_order(resumed.get('digest'))
            states = resumed['random']
            states = [states] if isinstance(states, dict) else states  # version 0.2.0 kept one
            if len(states) == self.runner.world_size:
                set_random_state(states[get_rank()])
            else:
                self.runner.logger.warning(
                    f'The checkpoint holds the random generators of {len(states)} processes, and '
                    f'this run has {self.runner.world_size}: it draws other random numbers than an '
                    'unbroken run.'
                )

    def _compare_order(self, digest: int | None) -> None:
        """Warn where the images up to the checkpoint had another order, of which ``digest`` is."""
        if get_rank() == 0 and digest not in (None, self.stream.digest):
            names = type(self.stream.batch_sampler).__name__, type(self.stream.sampler).__name__
            self.runner.logger.warning(
                f'Up to iteration {self._iter} the images came in another order than that of '
                f'{names[0]} over {names[1]} now, so the resumed run may leave images out of this '
                'pass over the data, or see them again. The order is the same with the same batch '
                'size, data set, number of processes and randomness.seed, and where that of the '
                'sampler follows from its seed and its epoch.'
            )

    def run(self) -> torch.nn.Module:
        """Train to ``max_iters``, validating every ``val_interval`` iterations and at the end."""
        runner = self.runner
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        self._start_data()
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            batch = next(self.dataloader_iterator)
            self.stream.take()
            self.run_iter(batch)
            self._decide_current_val_interval()
            due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
            if runner.val_loop is not None and self._iter >= self.val_begin and due:
                self._before_validation = random_state()
                runner.val_loop.run()
                set_random_state(self._before_validation)
                self._before_validation = None
        self.dataloader_iterator = self.dataloader._iterator = None  # ends the loading processes
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model
