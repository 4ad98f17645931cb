"""What is computed again in the backward pass rather than kept, which saves memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.fsdp import FSDPModule
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from .drop_path import copied_generators, draws_per_image

# Of recomputed blocks, the results of these operators are kept: of what reduces whole maps, and of
# products whose sums are as long as a row of this argument, if that is LONG.
STATISTICS = ('var_mean', 'batch_norm_stats', 'batch_norm_gather_stats_with_counts')
REDUCTIONS = ('argmax', 'topk', *STATISTICS)
PRODUCTS, LONG = dict(convolution=1, mm=0, bmm=0, addmm=1, baddbmm=1), 512


class _Kept:
    """A tensor that a gradient needs."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = tensor, tensor._version

    def result(self) -> Tensor:
        if self.tensor._version != self.version:
            raise RuntimeError('A tensor that a gradient needs has been changed in place.')
        return self.tensor


class _Recipe:
    """How to make a tensor of others, or of their recipes, by a function without parameters."""

    def __init__(self, function: Callable, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.function, self.version = function, output._version
        self.inputs = [_recipe_of(x) or _Kept(x) for x in inputs]

    def result(self) -> Tensor:
        return self.function(*(one.result() for one in self.inputs))


def _recipe_of(x: Tensor) -> _Recipe | None:
    """The recipe of ``x``, unless ``x`` has been changed in place since."""
    recipe = getattr(x, 'recipe', None)
    return recipe if recipe is not None and recipe.version == x._version else None


def _all_is_kept() -> bool:
    """Whether autograd keeps what it reads, and no code around has a say in that."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    hooks = torch._C._autograd
    if not hooks._saved_tensors_hooks_is_enabled():  # inside of torch.func and torch.vmap
        return False
    return hooks._top_saved_tensors_default_hooks(True) is None


def remember(function: Callable, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """``output``, which is ``function(*inputs)``, for :func:`keeping_recipe`.

    The inputs stay until the gradient is computed, so they should be small, or kept anyway.
    """
    # With equal types, autocast has changed nothing. Without a gradient, no input is kept anyway.
    new = all(one.dtype == output.dtype and one is not output for one in inputs)
    if new and _all_is_kept() and output.requires_grad:
        output.recipe = _Recipe(function, inputs, output)
    return output


def remade(function: Callable, *inputs: Tensor) -> Tensor:
    """``function(*inputs)``, which :func:`keeping_recipe` does not keep."""
    return remember(function, inputs, function(*inputs))


def concatenated(*maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) of one size as one, channels-last in memory where the first one is."""
    layout = dict(memory_format=torch.channels_last)
    if maps[0].is_contiguous(**layout):
        maps = [one.contiguous(**layout) for one in maps]
    return torch.cat(maps, dim=1)


def keeping_recipe(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``, whose gradient computes ``x`` again if :func:`remember` knows how."""
    recipe = _recipe_of(x) if _all_is_kept() else None
    if recipe is None:
        return module(x)
    storage, form = x.untyped_storage()._cdata, (x.shape, x.stride())

    def pack(kept: Tensor) -> _Recipe | _Kept:
        same = (kept.shape, kept.stride()) == form
        return recipe if same and kept.untyped_storage()._cdata == storage else _Kept(kept)

    def unpack(packed: _Recipe | _Kept) -> Tensor:
        with torch.no_grad():
            return packed.result()

    with saved_tensors_hooks(pack, unpack):
        return module(x)


def _known(module: nn.Module) -> bool:
    """Whether a module changes no result of an operator, and reads no averages while it trains."""
    return type(module).__module__.startswith(('torch.', 'cmt_deeplab.', 'mmdet.'))


class _Again(AbstractContextManager):
    """A context that repeats the random draws since its creation, and keeps running averages.

    Draws from torch's global generators are repeated by torch itself.
    """

    def __init__(self, module: nn.Module, reuse: AbstractContextManager) -> None:
        self.generators, self.contexts = copied_generators(), [reuse]
        for norm in module.modules():
            updates = isinstance(norm, _BatchNorm) and norm.training
            if updates and not getattr(norm, 'frozen', False):
                # While they train, known norms do not read the averages that they update.
                copy = torch.empty_like if _known(norm) else torch.clone
                buffers = {name: copy(one) for name, one in norm.named_buffers(recurse=False)}
                self.contexts.append(patch.dict(norm._buffers, buffers))

    def __enter__(self) -> None:
        self.open = ExitStack()
        for one in (draws_per_image(copied_generators(self.generators)), *self.contexts):
            self.open.enter_context(one)

    def __exit__(self, *error: Any) -> None:
        self.open.close()


def _kept(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """What to do with the result of an operator of a block."""
    name = operator._overloadpacket.__name__
    kept = name in REDUCTIONS or operator.namespace.endswith('c10d_functional')
    if name in PRODUCTS:
        rows = args[PRODUCTS[name]]
        kept = (rows[0].numel() if name == 'convolution' else rows.shape[-1]) >= LONG
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def recomputed(
    module: nn.Module, *args: Any, forward: Callable | None = None, **kwargs: Any
) -> Any:
    """``module(...)``, of which the inputs are kept for the backward pass, and little else.

    Gradients, draws of drop path and batch statistics are those of a plain call. ``forward`` is
    a function of the module and its inputs that stands for the forward of its class. The gradient
    can be computed once.
    """
    forward = partial(forward or type(module).forward, module)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    if torch.compiler.is_compiling():  # which repeats draws, and updates averages once, by itself
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        keep = reuse = nullcontext()
        parts = list(module.modules())
        sharded = any(isinstance(one, FSDPModule) for one in parts[1:])  # which gather only once
        if all(map(_known, parts)) and _all_is_kept() and not sharded:
            keep, reuse = create_selective_checkpoint_contexts(_kept)
        return keep, _Again(module, reuse)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def recompute_always(module: nn.Module) -> None:
    """Make every call of a module :func:`recomputed`."""
    module.forward = partial(recomputed, module)
