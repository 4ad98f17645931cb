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
    """The runner of ``tools/train.py`` and ``tools/test.py`` (``runner_type`` in ``default_runtime.py``; mmdet's tools take it too).

    It joins a gloo process group where there is no GPU, counts gradient accumulation in the automatic scaling of the learning rate, and
    carries the state of the training loop through checkpoints.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """As mmengine; the process group stands before, so that mmengine does not select a GPU."""
        if self.distributed and not is_distributed():
            dist_cfg = env_cfg.get('dist_cfg', {})
            init_process_group(
                launcher=self.launcher,
                backend=dist_cfg.get('backend'),
                timeout=dist_cfg.get('timeout'),
            )
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """As mmengine; the wrapper that also takes the CPU is the default."""
        if self.distributed and model_wrapper_cfg is None:
            unused = self.cfg.get('find_unused_parameters', False)
            model_wrapper_cfg = dict(
                type='PanopticDistributedDataParallel', find_unused_parameters=unused
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        """As mmengine; a resumed run, whose checkpoint holds every tensor, does not look for pretrained weights."""
        if not (
            self._resume and (self._load_from or Path(self.work_dir, 'last_checkpoint').is_file())
        ):
            super()._init_model_weights()

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict | None = None) -> None:
        """As mmengine, but the batch of one optimizer step counts, accumulated iterations included."""
        if (
            auto_scale_lr
            and auto_scale_lr.get('enable')
            and isinstance(optim_wrapper, OptimWrapper)
        ):
            auto_scale_lr = dict(
                auto_scale_lr,
                base_batch_size=auto_scale_lr['base_batch_size']
                / optim_wrapper._accumulative_counts,
            )
        super().scale_lr(optim_wrapper, auto_scale_lr)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As mmengine; checkpoints carry the state of the training loop."""
        loop = (
            self._train_loop if isinstance(self._train_loop, PanopticIterBasedTrainLoop) else None
        )
        if loop is not None and fn_name == 'before_save_checkpoint':
            kwargs['checkpoint']['train_loop'] = loop.state_dict()
        super().call_hook(fn_name, **kwargs)
        if (
            loop is not None
            and fn_name == 'after_load_checkpoint'
            and self._resume
            and 'train_loop' in kwargs['checkpoint']
        ):
            loop.load_state_dict(kwargs['checkpoint']['train_loop'])
