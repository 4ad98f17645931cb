"""The part of the runner that writes checkpoints, and goes on from them."""

from pathlib import Path
from typing import Any

from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner, find_latest_checkpoint

from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.errors import require_file
from cmt_deeplab.models.backbones.pretrained import checked_weights

from .resume import adapt
from .settings import settings_of, without_functions
from .train_loop import PanopticIterBasedTrainLoop


class ResumingRunner(Runner):
    """mmengine's runner, whose resumed runs continue exactly and say what is other than before.

    Its checkpoints carry the settings of the run and the state of the training loop.
    """

    settings: dict = {}  # of the training run, see settings_of
    _loop_state: dict | None = None  # of the training loop, for the checkpoint that is being saved

    def find_checkpoint(self) -> None:
        """Where a run resumes and names no checkpoint, take the newest of its work dir, if any.

        Raises:
            MissingFileError: it is not there.
        """
        newest = find_latest_checkpoint(self.work_dir) if self._resume else None
        if newest and not self._load_from:
            require_file(
                newest,
                f'{Path(self.work_dir) / "last_checkpoint"} names {newest}, which does not exist; '
                'resume another one with load_from (--resume CHECKPOINT), or remove that file.',
            )
            self._load_from = newest

    def _init_model_weights(self) -> None:
        """As in mmengine, but a file of another model is refused.

        A run that resumes looks for no pretrained weights, as its checkpoint holds every tensor.
        """
        if not (self._resume and self._load_from):
            with checked_weights(unwrapped(self.model)):
                super()._init_model_weights()

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """As in mmengine, with the state of the training loop; all processes call it together."""
        if isinstance(self._train_loop, PanopticIterBasedTrainLoop):
            self._loop_state = self._train_loop.state_dict()
        super().save_checkpoint(*args, **kwargs)

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """As in mmengine; where it is called before ``train``, that resumes from the checkpoint."""
        self._load_from, self._resume = str(filename), True
        if isinstance(self._train_loop, BaseLoop):
            super().resume(filename, *args, **kwargs)

    def load_or_resume(self) -> None:
        """As in mmengine; a resumed run needs to know its settings, and whether it has an end."""
        if isinstance(self._train_loop, BaseLoop):
            self.settings = settings_of(self)
        super().load_or_resume()
        loop = self._train_loop
        if not isinstance(loop, BaseLoop):
            return
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        at, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
        if at >= end:
            self.logger.warning(
                f'Nothing is left to train: the checkpoint {self._load_from} is of '
                f'{"epoch" if by_epoch else "iteration"} {at}, and training ends at '
                f'train_cfg.{"max_epochs" if by_epoch else "max_iters"}={end}.'
            )

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As in mmengine; checkpoints carry the settings of the run and the state of its loop.

        mmengine's ``resume`` would execute ``meta.config`` of a checkpoint as Python code to
        compare numbers of GPUs; it is dropped, so that a checkpoint cannot run code.
        """
        checkpoint = kwargs.get('checkpoint')
        resuming = self._resume and isinstance(self._train_loop, BaseLoop)
        if fn_name == 'before_save_checkpoint':
            checkpoint['settings'] = self.settings
            schedules = checkpoint.get('param_schedulers')
            if isinstance(schedules, list):  # OneCycleLR holds a function, which no loading allows
                checkpoint['param_schedulers'] = [without_functions(each) for each in schedules]
            if self._loop_state:
                checkpoint['train_loop'] = self._loop_state
        if fn_name == 'after_load_checkpoint' and isinstance(checkpoint, dict):
            if 'state_dict' not in checkpoint:  # mmengine's EMAHook expects it
                weights = dict(checkpoint)
                checkpoint.clear()
                checkpoint['state_dict'] = weights
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'after_load_checkpoint':
            checkpoint.get('meta', {}).pop('config', None)
            if resuming:
                adapt(checkpoint, self)
                self._resume_loop(checkpoint)

    def _resume_loop(self, checkpoint: dict) -> None:
        """Give the training loop its state, or warn that the run does not continue exactly."""
        exact = isinstance(self._train_loop, PanopticIterBasedTrainLoop)
        if exact and 'train_loop' in checkpoint:
            self._train_loop.load_state_dict(checkpoint['train_loop'])
            return
        reason = 'the checkpoint does not hold them'
        if not exact:
            reason = f'{type(self._train_loop).__name__} does not restore them'
            seen = checkpoint['meta']['iter'] % len(self.train_dataloader)
            if isinstance(self._train_loop, EpochBasedTrainLoop) and seen:
                reason += f', and repeats the {seen} iterations since the last epoch ended'
        self.logger.warning(
            'The resumed run draws other random numbers than an unbroken run, because '
            f"{reason}; train_cfg=dict(type='PanopticIterBasedTrainLoop') resumes exactly."
        )
