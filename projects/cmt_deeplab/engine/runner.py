"""mmengine's runner, also on machines without a GPU, and with exact resuming."""

from functools import partial
from typing import Any

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.hooks import CheckpointHook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS  # where mmdet's own tools look it up, too
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from cmt_deeplab.config_check import check_config
from cmt_deeplab.construction import config_entries, name_of, quote
from cmt_deeplab.datasets.dataset_check import one_metainfo
from cmt_deeplab.datasets.shared_records import built_together
from cmt_deeplab.engine.loop.batch_stream import images_per_batch
from cmt_deeplab.engine.loop.loader_check import check_loader, without_loading_processes
from cmt_deeplab.engine.loop.message_hub import PanopticMessageHub
from cmt_deeplab.engine.loop.schedule_check import check_loop, check_schedulers
from cmt_deeplab.engine.optim.optimization import check_optim_wrapper
from cmt_deeplab.engine.stopping.watched_runner import WatchedRunner
from cmt_deeplab.errors import UserError, mistakes_as_user_errors
from cmt_deeplab.evaluation import check_followed, check_metrics, figures_of
from cmt_deeplab.models.blocks.recompute import recompute_always
from cmt_deeplab.models.data_preprocessor import PanopticDataPreprocessor
from cmt_deeplab.models.stacking import stacked_batch

from .class_check import unwrapped
from .fsdp import ShardingRunner
from .hooks import with_checks
from .runner_setup import logged_at_the_end

SYNCHRONIZED = ('MMSyncBN', 'SyncBN', 'SyncBatchNorm')  # the first needs several processes as well


@RUNNERS.register_module()
class PanopticRunner(WatchedRunner, ShardingRunner):
    """The runner of ``tools/train.py`` and ``tools/test.py``; mmdet's own tools take it too.

    A config chooses it by ``runner_type``. It joins a gloo process group where there is no GPU,
    counts accumulated iterations in the automatic scaling of the learning rate, and carries the
    state of the training loop through checkpoints.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:
        """As in mmengine, after the config is checked.

        Raises:
            UserError: something in the config cannot be used.
        """
        with mistakes_as_user_errors(), logged_at_the_end(check_config(cfg)):
            return super().from_cfg(cfg)

    def build_message_hub(self, message_hub: dict | None = None) -> MessageHub:
        """As in mmengine, a hub that does not wait for the GPU."""
        name = super().build_message_hub(message_hub).instance_name
        MessageHub._instance_dict[name] = PanopticMessageHub.get_instance(name)
        return MessageHub._instance_dict[name]

    def wrap_model(self, model_wrapper_cfg: dict | None, model: torch.nn.Module) -> torch.nn.Module:
        """As in mmengine, with a wrapper that also works on the CPU.

        The key ``find_unused_parameters`` counts beside ``model_wrapper_cfg`` too.
        """
        wrapper = dict(model_wrapper_cfg or {})
        if name_of(wrapper.get('type')) in ('None', 'MMDistributedDataParallel'):
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
        """As in mmengine, with checks; None leaves out any hook, not only one of mmengine."""
        super().register_default_hooks(with_checks(hooks or {}))

    def build_dataloader(
        self, dataloader: DataLoader | dict, *args: Any, **kwargs: Any
    ) -> DataLoader:
        """As in mmengine, then a data loader of the run is checked.

        Unless the config says otherwise, its loading processes stack training batches, and a GPU
        gets them from pinned memory.
        """
        own = (f'{split}_dataloader' for split in ('train', 'val', 'test'))
        place = next((key for key in own if getattr(self, f'_{key}') is dataloader), None)
        if isinstance(dataloader, dict):
            dataloader = without_loading_processes(dataloader, place or 'dataloader', self.logger)
            dataloader = {'pin_memory': get_device() == 'cuda', **dataloader}
            preprocessor = getattr(unwrapped(self.model), 'data_preprocessor', None)
            # a class derived from it may have methods that read lists
            if place == 'train_dataloader' and type(preprocessor) is PanopticDataPreprocessor:
                stacking = dict(type=stacked_batch, size=preprocessor.size)
                dataloader.setdefault('collate_fn', stacking)
        with built_together():
            loader = super().build_dataloader(dataloader, *args, **kwargs)
        one_metainfo(loader.dataset)
        if place:
            check_loader(loader, place)
        return loader

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, then the loop is compared with the hooks and the sampler.

        ``activation_checkpointing`` is applied here: mmengine's way, torch's reentrant one, gives a
        part whose input needs no gradient, such as the backbone, no gradient either.

        Raises:
            UserError: they do not go together, or a key of the config names no part of the model.
        """
        self.find_checkpoint()
        self._check_given(self._train_dataloader)
        try:
            loop = super().build_train_loop(loop)
            # mmengine's loops and hooks ask for both
            len(loop.dataloader), loop.dataloader.batch_sampler.sampler
        except (AttributeError, TypeError) as error:
            if 'has no len()' not in str(error) and "no attribute 'sampler'" not in str(error):
                raise
            raise UserError(
                'train_dataloader or a sampler of it lacks what loops of mmengine ask for '
                f"({error}): add it, or use train_cfg=dict(type='PanopticIterBasedTrainLoop')."
            ) from error
        parts = dict(unwrapped(self.model).named_modules())
        for key in ('activation_checkpointing', 'efficient_conv_bn_eval'):
            names = self.cfg.get(key) or []
            for name in [names] if isinstance(names, str) else names:
                if name not in parts:
                    raise UserError(f"{key} names '{name}', which the model does not have.")
                if key == 'activation_checkpointing':
                    recompute_always(parts[name])
        self.cfg.activation_checkpointing = None  # mmengine's way would come on top
        check_loop(loop, self)
        return loop

    def _check_given(self, loader: DataLoader | dict) -> None:
        """Check a data loader that was built in Python; mmengine builds those of a config."""
        if isinstance(loader, DataLoader):
            self.build_dataloader(loader)

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, then the metrics are compared with the model and with the hooks."""
        self._check_given(self._val_dataloader)
        loop = super().build_val_loop(loop)
        check_metrics(loop, unwrapped(self.model))
        check_followed(self._hooks, figures_of(loop.evaluator.metrics))
        return loop

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As in mmengine, after the first validation has told what unknown metrics give."""
        if fn_name == 'after_val_epoch':
            followers = [hook for hook in self._hooks if isinstance(hook, CheckpointHook)]
            check_followed(followers, kwargs['metrics'])
        super().call_hook(fn_name, **kwargs)

    def build_test_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """As in mmengine, then the metrics are compared with the model."""
        self._check_given(self._test_dataloader)
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
        check_schedulers(scheduler, self)
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

    def _maybe_compile(self, target: str) -> None:
        """As in mmengine (``compile=True``, or the arguments of ``torch.compile``), but less.

        It compiles the network and not what follows it: losses, merge and the optimizer's step. In
        a training it leaves validations as they are, whose images have many sizes.

        Raises:
            UserError: torch does not take the arguments, or misses a compiler.
        """
        options, model = self.cfg.get('compile'), unwrapped(self.model)
        if options in (None, False):
            return
        part = 'network' if hasattr(model, 'network') else 'forward'
        plain = getattr(model, part)
        try:
            compiler = partial(torch.compile, **({} if options is True else options))
            compiler(torch.neg)(torch.zeros(2, device=next(model.parameters()).device))
            compiled = compiler(plain)
        except Exception as error:
            raise UserError(
                f'compile={options} cannot be used: {quote(error)}; correct its keys, which are '
                'those of torch.compile, or set compile=False.'
            ) from error

        def run(*args: Any, **kwargs: Any) -> Any:
            network = compiled if target != 'train_step' or model.training else plain
            return network(*args, **kwargs)

        setattr(model, part, run)
        self.logger.info(f'{type(model).__name__}.{part} is compiled when it is first called.')
