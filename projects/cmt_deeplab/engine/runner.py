"""mmengine's runner, also on machines without a GPU, and with exact resuming."""

from pathlib import Path
from typing import Any

import torch.distributed
from mmdet.registry import RUNNERS
from mmengine.dist import is_distributed
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from .distributed import init_process_group
from .train_loop import PanopticIterBasedTrainLoop


@RUNNERS.register_module()
class PanopticRunner(Runner):
    """The runner of ``tools/train.py`` and ``tools/test.py``; mmdet's own tools take it too.

    A config chooses it by ``runner_type``. It joins a gloo process group where there is no GPU,
    counts accumulated iterations in the automatic scaling of the learning rate, and carries the
    state of the training loop through checkpoints.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """As in mmengine, after joining the process group, so that mmengine selects no GPU."""
        if self.distributed and not is_distributed():
            dist_cfg = env_cfg.get('dist_cfg', {})
            options = {key: dist_cfg.get(key) for key in ('backend', 'timeout')}
            init_process_group(launcher=self.launcher, **options)
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """As in mmengine; by default with the wrapper that also works on the CPU."""
        default = dict(
            type='PanopticDistributedDataParallel',
            find_unused_parameters=self.cfg.get('find_unused_parameters', False),
        )
        return super().wrap_model(model_wrapper_cfg or default, model)

    def _init_model_weights(self) -> None:
        """As in mmengine, but a run that resumes does not look for pretrained weights.

        Its checkpoint holds every tensor.
        """
        newest = self._load_from or Path(self.work_dir, 'last_checkpoint').is_file()
        if not (self._resume and newest):
            super()._init_model_weights()

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """As in mmengine, but the batch of an optimizer step counts, accumulated iterations too."""
        scale = dict(auto_scale_lr or {})
        if scale.get('enable') and isinstance(optim_wrapper, OptimWrapper):
            scale['base_batch_size'] /= optim_wrapper._accumulative_counts
        super().scale_lr(optim_wrapper, scale)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As in mmengine; checkpoints carry the state of the training loop.

        mmengine's ``resume`` would execute ``meta.config`` of a checkpoint as Python code to
        compare numbers of GPUs; it is dropped, so that a checkpoint cannot run code.
        """
        checkpoint = kwargs.get('checkpoint')
        exact = isinstance(self._train_loop, PanopticIterBasedTrainLoop)
        if exact and fn_name == 'before_save_checkpoint':
            checkpoint['train_loop'] = self._train_loop.state_dict()
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'after_load_checkpoint':
            checkpoint.get('meta', {}).pop('config', None)
            if exact and self._resume and 'train_loop' in checkpoint:
                self._train_loop.load_state_dict(checkpoint['train_loop'])
