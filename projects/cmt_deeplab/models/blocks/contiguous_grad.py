"""A guard against a fault of torch's CPU kernels."""

from functools import partial

import torch
from torch import Tensor


def contiguous_grad(x: Tensor) -> Tensor:
    """``x``; its gradient will arrive in the memory layout that ``x`` has.

    For a batch of one, a gradient that a transposition has passed looks like channels-last to torch's CPU batch norm while its input does
    not, and the gradients behind it come out wrong (torch 2.13 and 2.15; ``tests/models/test_norm.py`` compares with the formula).
    Compiled code lays its tensors out itself.
    """
    if x.requires_grad and x.device.type == 'cpu' and not torch.compiler.is_compiling():
        layout = torch.contiguous_format
        if (
            x.dim() == 4
            and not x.is_contiguous()
            and x.is_contiguous(memory_format=torch.channels_last)
        ):
            layout = torch.channels_last
        x.register_hook(partial(Tensor.contiguous, memory_format=layout))
    return x
