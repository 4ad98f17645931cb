"""The part of the runner that writes checkpoints, and goes on from them."""

import os
from functools import partial
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import BaseLoop, CheckpointLoader, EpochBasedTrainLoop, Runner

from cmt_deeplab.engine.checkpoint_hook import PanopticCheckpointHook
from cmt_deeplab.engine.class_check import unwrapped
from cmt_deeplab.engine.distributed import from_first_process
from cmt_deeplab.engine.loop.train_loop import PanopticIterBasedTrainLoop
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.backbones.pretrained import checked_weights
from cmt_deeplab.precision import not_finite

from .newest_checkpoint import newest_checkpoint, refuse_second_training
from .resume import adapt, check_form
from .settings import settings_of, without_functions


class ResumingRunner(Runner):
    """mmengine's runner, whose resumed runs continue exactly and say what is other than before.

    Its checkpoints carry the settings of the run and the state of the training loop.
    """

    settings: dict = {}  # of the training run, see settings_of
    _saved = False  # whether a checkpoint was
    _loop_state: dict | None = None  # of the training loop, for the checkpoint that is being saved

    def register_hook(self, hook: Hook | dict, *args: Any, **kwargs: Any) -> None:
        """As in mmengine; its CheckpointHook becomes ours, and so do classes derived from it."""
        super().register_hook(hook, *args, **kwargs)
        for each in self._hooks:
            if isinstance(each, CheckpointHook) and not isinstance(each, PanopticCheckpointHook):
                kind, ours = type(each), PanopticCheckpointHook  # which adds methods only
                if kind is not CheckpointHook:
                    ours = type(kind.__name__, (kind, ours), {'__module__': kind.__module__})
                each.__class__ = ours

    def find_checkpoint(self) -> None:
        """Where a run resumes and names no checkpoint, take the newest of its work dir, if any.

        Raises:
            UserError: none of them is whole; or a run that does not resume from the work dir would
                write over those of another training.
            MissingFileError: ``last_checkpoint`` names a file that does not exist, and is alone.
        """
        hooks = [hook for hook in self._hooks if isinstance(hook, PanopticCheckpointHook)]
        if isinstance(self._train_loop, BaseLoop):  # this runner has trained before
            return
        if self._resume and not self._load_from:
            find = partial(newest_checkpoint, self.work_dir, hooks, self.logger)
            newest = from_first_process(find)
            self._resume = newest is not None
            self._load_from = newest or self.cfg.get('start_from')  # see resume_from
        else:
            start = self._load_from if self._resume else None
            from_first_process(lambda: refuse_second_training(self.work_dir, hooks, start))

    def _init_model_weights(self) -> None:
        """As in mmengine, but a file of another model is refused.

        A run that resumes looks for no pretrained weights, as its checkpoint holds every tensor.
        """
        if not (self._resume and self._load_from):
            with checked_weights(unwrapped(self.model)):
                super()._init_model_weights()

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """As in mmengine, with the state of the training loop; all processes call it together.

        A warning tells where the first one of a run holds what cannot be resumed.

        Raises:
            UserError: in all of them, where weights are not finite, the file cannot be written, or
                a hook objects.
        """
        self.call_hook('before_saving')
        if isinstance(self._train_loop, PanopticIterBasedTrainLoop):
            self._loop_state = self._train_loop.state_dict()
        save = super().save_checkpoint
        from_first_process(lambda: save(out_dir, filename, *args, **kwargs))
        path = os.path.join(out_dir, filename)
        if not self._saved and is_main_process() and os.path.isfile(path):
            try:
                check_form(CheckpointLoader.load_checkpoint(path, 'cpu'), self, path)
            except UserError as error:
                self.logger.warning(f'What this run saves cannot be resumed: {error}')
        self._saved = True

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """As in mmengine; where it is called before ``train``, that resumes from the checkpoint."""
        self._load_from, self._resume = str(filename), True
        if isinstance(self._train_loop, BaseLoop):
            super().resume(filename, *args, **kwargs)
            if isinstance(self._train_loop, PanopticIterBasedTrainLoop):
                self._train_loop.restore_gradients()  # after the scale of mixed precision

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
        """As in mmengine; checkpoints carry the settings of the run and the state of its loop."""
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
            if resuming:
                check_form(checkpoint, self, self._load_from)
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_save_checkpoint':
            _require_finite(checkpoint)
        if fn_name == 'after_load_checkpoint' and resuming:
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


def _require_finite(checkpoint: dict) -> None:
    """Raise a :class:`UserError` rather than save weights, or their average, that are worthless."""
    weights = checkpoint['state_dict'], checkpoint.get('ema_state_dict', {})
    name = next(filter(None, map(not_finite, weights)), None)
    if name is not None:
        raise UserError(
            f"The weights are not finite ('{name}' has nan or inf) and are not saved: resume from "
            'an earlier checkpoint, and lower the learning rate or clip the gradients '
            '(optim_wrapper.clip_grad).'
        )
