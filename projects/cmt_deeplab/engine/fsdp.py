"""Fully sharded data parallel: a process keeps its share of all parameters and of their moments."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import EMAHook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODEL_WRAPPERS
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from cmt_deeplab.construction import name_of
from cmt_deeplab.engine.resuming.resuming_runner import ResumingRunner
from cmt_deeplab.errors import UserError

PARTS = ('backbone', 'pixel_decoder.blocks', 'transformer_decoder.stages')


@MODEL_WRAPPERS.register_module()
class PanopticFullyShardedDataParallel(nn.Module):
    """torch's ``fully_shard`` (FSDP2) as a model wrapper of mmengine.

    Between the steps a process holds its share of every parameter, gradient and moment. In a step
    the parameters of a part are gathered while it runs, forward and backward. Losses and updates
    are those of distributed data parallel.

    Args:
        module: the model, which is changed in place.
        parts: ends of names of modules that are gathered one at a time, where a list of modules
            stands for its entries. All that is in no part is gathered for the whole step. A part
            has to be called as a module, and its parameters are read by no other one.
        find_unused_parameters: a parameter may have a gradient in some processes alone.

    Raises:
        UserError: the model has no such part.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        parts: Sequence[str] = PARTS,
        find_unused_parameters: bool = False,
    ) -> None:
        super().__init__()
        self.module = module
        mesh = init_device_mesh(next(module.parameters()).device.type, (get_world_size(),))
        for part in [*find_parts(module, parts), module]:
            fully_shard(part, mesh=mesh, reshard_after_forward=True)
        if find_unused_parameters:  # not every torch from 2.10 on has it
            module.set_reduce_scatter_unused_params(True)
        module.register_state_dict_pre_hook(refuse_shards)

    def train(self, mode: bool = True) -> nn.Module:
        """As in torch; an evaluation begins with whole parameters, which then stay whole.

        So processes may evaluate different numbers of images.
        """
        for part in sharded_modules(self):
            part.set_reshard_after_forward(mode, recurse=False)
            part.reshard() if mode else part.unshard()
        return super().train(mode)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train_step(self, data: Any, optim_wrapper: OptimWrapper) -> dict[str, Tensor]:
        """As in mmengine.

        Raises:
            UserError: parameters of a part are used without a call of the part.
        """
        try:
            return self.module.train_step(data, optim_wrapper)
        except RuntimeError as error:
            if 'mixed torch.Tensor and DTensor' not in str(error):
                raise
            raise UserError(
                'model_wrapper_cfg.parts names a module that the model uses without calling it as '
                'a whole: leave it out, or name the modules in it that are called.'
            ) from error

    def val_step(self, data: Any) -> list:
        return self.module.val_step(data)

    def test_step(self, data: Any) -> list:
        return self.module.test_step(data)


def refuse_shards(model: nn.Module, prefix: str, keep_vars: bool) -> None:
    """Raise a :class:`UserError` where a state dict would have shards in place of tensors."""
    for part in sharded_modules(model):
        part.reshard()
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        raise UserError(
            'A model in PanopticFullyShardedDataParallel is initialized, saved and loaded by '
            "PanopticRunner alone: set runner_type='PanopticRunner'."
        )


def sharded_modules(model: nn.Module) -> list[FSDPModule]:
    """The modules whose parameters are gathered together, the outer ones first."""
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def find_parts(model: nn.Module, ends: Sequence[str]) -> list[nn.Module]:
    """The modules that ``parts`` of the wrapper names, the inner ones first.

    Raises:
        UserError: there is none for one of them, unless it is one of the default.
    """
    modules, parts = dict(model.named_modules()), []
    for end in ends:
        found = [module for name, module in modules.items() if f'.{name}'.endswith(f'.{end}')]
        if not found and end not in PARTS:
            raise UserError(
                f"model_wrapper_cfg.parts names '{end}', which the model does not have: use ends "
                'of the names of its modules.'
            )
        while lists := [part for part in found if isinstance(part, nn.ModuleList)]:
            found = [part for part in found if part not in lists]
            found += [entry for each in lists for entry in each]
        parts += found
    order = {module: number for number, module in enumerate(modules.values())}
    return sorted(dict.fromkeys(parts), key=order.get, reverse=True)


@contextmanager
def whole(model: nn.Module, *optimizers: Optimizer) -> Iterator[None]:
    """Parameters, gradients and moments are whole tensors inside, and shards again afterwards.

    All processes enter and leave together. Inside, each may do alone what it does with a model
    that is not sharded: initialize, save, load. Such a model stays as it is.
    """
    for part in sharded_modules(model):
        part.reshard()
    places = [
        (module, name, shard, module._load_state_dict_post_hooks)
        for module in model.modules()
        for name, shard in module._parameters.items()
        if isinstance(shard, DTensor)
    ]
    gathered = {
        shard: nn.Parameter(_gather(shard), shard.requires_grad) for _, _, shard, _ in places
    }
    for shard, parameter in gathered.items():
        parameter.grad = _gather(shard.grad)
    for module, name, shard, _ in places:
        module._parameters[name] = gathered[shard]
        module._load_state_dict_post_hooks = OrderedDict()  # those of torch expect shards
    _exchange(optimizers, gathered, lambda value, shard: _gather(value))
    try:
        yield
    finally:
        for module, name, shard, hooks in places:
            module._parameters[name] = shard
            module._load_state_dict_post_hooks = hooks
        for shard, parameter in gathered.items():
            with torch.no_grad():
                shard.copy_(_shard(parameter, shard))
            shard.grad = _shard(parameter.grad, shard)
        _exchange(optimizers, {new: old for old, new in gathered.items()}, _shard)


def _gather(value: Any) -> Any:
    return value.detach().full_tensor() if isinstance(value, DTensor) else value


def _shard(value: Any, like: DTensor) -> Any:
    """This process's share of a tensor of the shape of ``like``; anything else as it is."""
    if not isinstance(value, Tensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.detach(), like.device_mesh, like.placements, src_data_rank=None)


def _exchange(
    optimizers: Sequence[Optimizer], new: dict[Tensor, Tensor], convert: Callable
) -> None:
    """Let optimizers hold the values of ``new`` in place of its keys.

    What an optimizer keeps of a parameter becomes ``convert(kept, new_parameter)``.
    """
    for optimizer in optimizers if new else ():
        for group in optimizer.param_groups:
            group['params'] = [new.get(parameter, parameter) for parameter in group['params']]
        for old in [each for each in new if each in optimizer.state]:  # one order in all processes
            kept, parameter = optimizer.state.pop(old), new[old]
            optimizer.state[parameter] = {k: convert(v, parameter) for k, v in kept.items()}


class ShardingRunner(ResumingRunner):
    """A runner that initializes, loads and saves a model in shards as one that is whole."""

    def _whole(self) -> AbstractContextManager:
        wrapper = self.optim_wrapper
        wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
        built = (each.optimizer for each in wrappers if isinstance(each, OptimWrapper))
        return whole(self.model, *built)

    def train(self) -> nn.Module:
        """As in mmengine.

        Raises:
            UserError: a hook copies the model, which a process has a share of.
        """
        if sharded_modules(self.model) and any(isinstance(h, EMAHook) for h in self.hooks):
            raise UserError(
                "model_wrapper_cfg.type='PanopticFullyShardedDataParallel' does not go together "
                'with EMAHook, which copies the model: remove one of the two.'
            )
        return super().train()

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """As in mmengine.

        Raises:
            UserError: the wrapper is that of torch's first FSDP.
        """
        kind = name_of((model_wrapper_cfg or {}).get('type'))
        if kind == 'MMFullyShardedDataParallel':
            raise UserError(
                f"model_wrapper_cfg.type='{kind}' is torch's first FSDP, whose checkpoints would "
                f"hold a part of the model: use '{PanopticFullyShardedDataParallel.__name__}'."
            )
        return super().wrap_model(model_wrapper_cfg, model)

    def _init_model_weights(self) -> None:
        with self._whole():
            super()._init_model_weights()

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with self._whole():
            super().save_checkpoint(*args, **kwargs)

    def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict:
        with self._whole():
            return super().load_checkpoint(*args, **kwargs)

    def resume(self, *args: Any, **kwargs: Any) -> None:
        with self._whole():
            super().resume(*args, **kwargs)
