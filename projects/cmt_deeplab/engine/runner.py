"""mmengine's runner, also on machines without a GPU, and with exact resuming."""

from functools import partial
from pathlib import Path
from typing import Any

import torch.distributed
from mmdet.registry import RUNNERS
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, Runner
from torch import nn
from torch.utils.checkpoint import checkpoint as recomputed

from cmt_deeplab.config_check import check_config
from cmt_deeplab.construction import config_entries, name_of
from cmt_deeplab.engine.loop.batch_stream import images_per_batch
from cmt_deeplab.engine.loop.train_loop import PanopticIterBasedTrainLoop
from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.evaluation import check_followed, check_metrics
from cmt_deeplab.models.backbones.pretrained import checked_weights

from .class_check import unwrapped
from .distributed import init_process_group
from .optimization import check_optim_wrapper
from .schedule_check import check_loop, check_schedulers

SYNCHRONIZED = ('MMSyncBN', 'SyncBN', 'SyncBatchNorm')  # the first needs several processes as well
# which mmengine leaves out where the config gives None
HOOKS_OF_MMENGINE = {
    'runtime_info',
    'timer',
    'sampler_seed',
    'logger',
    'param_scheduler',
    'checkpoint',
}


@RUNNERS.register_module()
class PanopticRunner(Runner):
    """The runner of ``tools/train.py`` and ``tools/test.py``; mmdet's own tools take it too.

    A config chooses it by ``runner_type``. It joins a gloo process group where there is no GPU,
    counts accumulated iterations in the automatic scaling of the learning rate, and carries the
    state of the training loop through checkpoints.
    """

    _loop_state: dict | None = None  # of the training loop, for the checkpoint that is being saved

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:
        """As in mmengine, after the config is checked.

        Raises:
            UserError: something in the config cannot be used.
        """
        with mistakes_as_user_errors():
            check_config(cfg)
            return super().from_cfg(cfg)

    def train(self) -> nn.Module:
        """As in mmengine; a mistake of the user is a :class:`UserError`, also in the two below."""
        with mistakes_as_user_errors():
            return super().train()

    def val(self) -> dict:
        with mistakes_as_user_errors():
            return super().val()

    def test(self) -> dict:
        with mistakes_as_user_errors():
            return super().test()

    def setup_env(self, env_cfg: dict) -> None:
        """As in mmengine, after joining the process group, so that mmengine selects no GPU."""
        if self.distributed and not is_distributed():
            dist_cfg = env_cfg.get('dist_cfg', {})
            options = {key: dist_cfg.get(key) for key in ('backend', 'timeout')}
            init_process_group(launcher=self.launcher, **options)
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """As in mmengine, with a wrapper that also works on the CPU.

        The key ``find_unused_parameters`` counts beside ``model_wrapper_cfg`` too.
        """
        wrapper = dict(model_wrapper_cfg or {})
        kind = wrapper.get('type', 'MMDistributedDataParallel')
        if kind in ('MMDistributedDataParallel', MMDistributedDataParallel):
            wrapper['type'] = 'PanopticDistributedDataParallel'
        unused = self.cfg.get('find_unused_parameters')
        if unused is not None and wrapper.setdefault('find_unused_parameters', unused) != unused:
            raise UserError(
                f'The config has find_unused_parameters={unused} and '
                f'model_wrapper_cfg.find_unused_parameters={not unused}; remove one of the two.'
            )
        return super().wrap_model(wrapper, model)

    def build_model(self, model: torch.nn.Module | dict) -> torch.nn.Module:
        """As in mmengine.

        Raises:
            UserError: a synchronized norm of torch or mmcv needs a GPU. Those of torch work on one
                process without one, as mmengine replaces them.
        """
        for place, norm in config_entries(model) if not torch.cuda.is_available() else ():
            several = SYNCHRONIZED if self.distributed else SYNCHRONIZED[:1]
            if place.endswith('.type') and name_of(norm) in several:
                raise UserError(
                    f"model.{place} is {name_of(norm)}, which needs a GPU: use 'PanopticSyncBN', "
                    "or 'BN'."
                )
        return super().build_model(model)

    def register_default_hooks(self, hooks: dict | None = None) -> None:
        """As in mmengine; None leaves out any hook, not only those that mmengine knows."""
        kept = {
            name: hook
            for name, hook in (hooks or {}).items()
            if hook is not None or name in HOOKS_OF_MMENGINE
        }
        super().register_default_hooks(kept)

    def _init_model_weights(self) -> None:
        """As in mmengine, but a file of another model is refused.

        A run that resumes looks for no pretrained weights, as its checkpoint holds every tensor.
        """
        newest = self._load_from or Path(self.work_dir, 'last_checkpoint').is_file()
        if not (self._resume and newest):
            with checked_weights(unwrapped(self.model)):
                super()._init_model_weights()

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, then the loop is compared with the hooks and the sampler.

        ``activation_checkpointing`` is applied here: mmengine's way, torch's reentrant one, gives a
        part whose input needs no gradient, such as the backbone, no gradient either.

        Raises:
            UserError: they do not go together, or a key of the config names no part of the model.
        """
        loop = super().build_train_loop(loop)
        parts = dict(unwrapped(self.model).named_modules())
        for key in ('activation_checkpointing', 'efficient_conv_bn_eval'):
            names = self.cfg.get(key) or []
            for name in [names] if isinstance(names, str) else names:
                if name not in parts:
                    raise UserError(f"{key} names '{name}', which the model does not have.")
                if key == 'activation_checkpointing':
                    forward = parts[name].forward
                    parts[name].forward = partial(recomputed, forward, use_reentrant=False)
        self.cfg.activation_checkpointing = None  # mmengine's way would come on top
        check_loop(loop, self)
        return loop

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, then the metrics are compared with the model and with the hooks."""
        loop = super().build_val_loop(loop)
        check_metrics(loop, unwrapped(self.model))
        check_followed(self._hooks, loop.evaluator.metrics)
        return loop

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, then the metrics are compared with the model."""
        loop = super().build_test_loop(loop)
        check_metrics(loop, unwrapped(self.model))
        return loop

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict) -> OptimWrapper:
        """As in mmengine, after the config is compared with the model."""
        if isinstance(optim_wrapper, dict):
            check_optim_wrapper(optim_wrapper, unwrapped(self.model), self.logger)
        return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """As in mmengine, after the schedules are compared with the training loop."""
        check_schedulers(scheduler, self.train_loop, self.logger)
        return super().build_param_scheduler(scheduler)

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """As in mmengine, but the batch of an optimizer step counts, accumulated iterations too."""
        scale = dict(auto_scale_lr or {})
        if scale.get('enable'):
            if not scale.get('base_batch_size'):
                raise UserError(
                    'auto_scale_lr.enable needs auto_scale_lr.base_batch_size: the batch that the '
                    'learning rate is set for.'
                )
            if images_per_batch(self.train_dataloader) is None:
                raise UserError(
                    'auto_scale_lr.enable needs one number of images per batch, but '
                    'train_dataloader.batch_size is '
                    f'{self.train_dataloader.batch_sampler.batch_size}; set '
                    'auto_scale_lr.enable=False and the learning rate yourself.'
                )
        if scale.get('enable') and isinstance(optim_wrapper, OptimWrapper):
            scale['base_batch_size'] /= optim_wrapper._accumulative_counts
        super().scale_lr(optim_wrapper, scale)

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """As in mmengine, with the state of the training loop; all processes call it together."""
        if isinstance(self._train_loop, PanopticIterBasedTrainLoop):
            self._loop_state = self._train_loop.state_dict()
        super().save_checkpoint(*args, **kwargs)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As in mmengine; checkpoints carry the state of the training loop.

        mmengine's ``resume`` would execute ``meta.config`` of a checkpoint as Python code to
        compare numbers of GPUs; it is dropped, so that a checkpoint cannot run code.
        """
        checkpoint = kwargs.get('checkpoint')
        if fn_name == 'before_save_checkpoint' and self._loop_state:
            checkpoint['train_loop'] = self._loop_state
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'after_load_checkpoint':
            checkpoint.get('meta', {}).pop('config', None)
            if self._resume and isinstance(self._train_loop, BaseLoop):
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
