"""Blocks whose activations are recomputed in the backward pass, which saves memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .drop_path import copied_generators, draws_per_image


class _Again(AbstractContextManager):
    """A context that repeats the random draws since its creation, and keeps running averages.

    Draws from torch's global generators are repeated by torch itself.
    """

    def __init__(self, module: nn.Module) -> None:
        self.buffers = {}  # which stand for those of norms that update their averages
        for norm in module.modules():
            updates = isinstance(norm, _BatchNorm) and norm.training
            if updates and not getattr(norm, 'frozen', False):
                # While they train, the norms of torch and of this package do not read them.
                unread = type(norm).__module__.startswith(('torch.', 'cmt_deeplab.'))
                copy = torch.empty_like if unread else torch.clone
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


def recomputed(
    module: nn.Module, *args: Any, forward: Callable | None = None, **kwargs: Any
) -> Any:
    """``module(...)``, of which only the inputs are kept for the backward pass.

    Gradients, draws of drop path and batch statistics are those of a plain call. ``forward`` is
    a function of the module and its inputs that stands for the forward of its class.
    """
    forward = partial(forward or type(module).forward, module)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    contexts = lambda: (nullcontext(), _Again(module))
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


def recompute_always(module: nn.Module) -> None:
    """Make every call of a module :func:`recomputed`."""
    module.forward = partial(recomputed, module)
