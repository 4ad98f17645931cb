"""What is computed again in the backward pass rather than kept, which saves memory."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from .drop_path import copied_generators, draws_per_image

# Of recomputed blocks, the results of these operators are kept: of products, with the argument
# that tells how long their sums are, those from a length on, and of what reduces whole maps.
PRODUCTS, LONG = dict(convolution=1, mm=0, bmm=0, addmm=1, baddbmm=1), 512
STATISTICS = {'var_mean', 'batch_norm_stats', 'batch_norm_gather_stats_with_counts'}
BEST = {'argmax', 'topk'}
_in_block = False  # whether a block runs of which only a part is kept


class _Recipe:
    """How to make a tensor of others, or of their recipes, by a function without parameters."""

    def __init__(self, function: Callable, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.function, self.version = function, output._version
        self.inputs = [(_recipe_of(x) or x, x._version) for x in inputs]

    def result(self) -> Tensor:
        inputs = []
        for one, version in self.inputs:
            if isinstance(one, _Recipe):
                one = one.result()
            elif one._version != version:
                raise RuntimeError('A tensor that a gradient needs has been changed in place.')
            inputs.append(one)
        return self.function(*inputs)


def _recipe_of(x: Tensor) -> _Recipe | None:
    """The recipe of ``x``, unless ``x`` has been changed in place since."""
    recipe = getattr(x, 'recipe', None)
    return recipe if recipe is not None and recipe.version == x._version else None


def _keeps_recipes() -> bool:
    return torch.is_grad_enabled() and not (_in_block or torch.compiler.is_compiling())


def remember(function: Callable, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """``output``, which is ``function(*inputs)``, for :func:`keeping_recipe`.

    The inputs stay until the gradient is computed, so they should be small, or kept anyway.
    """
    # With equal types, autocast has changed nothing.
    new = all(one.dtype == output.dtype and one is not output for one in inputs)
    if new and _keeps_recipes():
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
    recipe = _recipe_of(x) if _keeps_recipes() else None
    if recipe is None:
        return module(x)
    storage, form = x.untyped_storage()._cdata, (x.shape, x.stride())

    def pack(kept: Tensor) -> Tensor | _Recipe:
        same = (kept.shape, kept.stride()) == form
        return recipe if same and kept.untyped_storage()._cdata == storage else kept

    def unpack(kept: Tensor | _Recipe) -> Tensor:
        with torch.no_grad():
            return kept.result() if isinstance(kept, _Recipe) else kept

    with saved_tensors_hooks(pack, unpack):
        return module(x)


def _known(module: nn.Module) -> bool:
    """Whether a module changes no result of an operator, and reads no averages while it trains."""
    return type(module).__module__.startswith(('torch.', 'cmt_deeplab.', 'mmdet.'))


@contextmanager
def _block(*inside: AbstractContextManager) -> Iterator[None]:
    """A context for the code of a block, with others inside of it."""
    global _in_block
    outer, _in_block = _in_block, True
    try:
        with ExitStack() as stack:
            for one in inside:
                stack.enter_context(one)
            yield
    finally:
        _in_block = outer


class _Again(AbstractContextManager):
    """A context that repeats the random draws since its creation, and keeps running averages.

    Draws from torch's global generators are repeated by torch itself.
    """

    def __init__(self, module: nn.Module) -> None:
        self.buffers = {}  # which stand for those of norms that update their averages
        for norm in module.modules():
            updates = isinstance(norm, _BatchNorm) and norm.training
            if updates and not getattr(norm, 'frozen', False):
                # While they train, known norms do not read them.
                copy = torch.empty_like if _known(norm) else torch.clone
                self.buffers[norm] = {
                    name: copy(one) for name, one in norm.named_buffers(recurse=False)
                }
        self.generators = copied_generators()

    def __enter__(self) -> None:
        self.open = ExitStack()
        self.open.enter_context(draws_per_image(copied_generators(self.generators)))
        for norm, buffers in self.buffers.items():
            self.open.callback(norm._buffers.update, dict(norm._buffers))
            norm._buffers.update(buffers)

    def __exit__(self, *error: Any) -> None:
        self.open.close()


def _kept(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    """What to do with the result of an operator of a block."""
    name, long = operator._overloadpacket.__name__, False
    if name in PRODUCTS:
        # one row of the weight, or of the matrix at the left, meets each column
        x = args[PRODUCTS[name]]
        long = (x[0].numel() if name == 'convolution' else x.shape[-1]) >= LONG
    exchanged = operator.namespace.endswith('c10d_functional')
    kept = exchanged or long or name in STATISTICS | BEST
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

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        keep = reuse = nullcontext()
        if all(map(_known, module.modules())) and not torch.compiler.is_compiling():
            keep, reuse = create_selective_checkpoint_contexts(_kept)
        return _block(keep), _block(_Again(module), reuse)

    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def recompute_always(module: nn.Module) -> None:
    """Make every call of a module :func:`recomputed`."""
    module.forward = partial(recomputed, module)
