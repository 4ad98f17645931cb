"""Weights that depend on their names alone, of a size that keeps deep networks alive."""

from zlib import crc32

import torch
from mmdet.registry import MODELS
from torch import nn
from torch.overrides import TorchFunctionMode

RANDOM = ('normal_', 'uniform_', 'erfinv_')  # as endings: kaiming_normal_ and so on


def by_rule(name: str, shape: tuple, *, fan_in: int = 0, positive: bool = False) -> torch.Tensor:
    """Normal numbers, for kernels divided by the root of ``fan_in``, for a norm's vectors small.

    ``positive`` numbers are uniform from 0.5 to 1.5.
    """
    generator = torch.Generator().manual_seed(crc32(name.encode()))
    if positive:
        return torch.rand(shape, generator=generator) + 0.5
    return torch.randn(shape, generator=generator) * (fan_in**-0.5 if fan_in else 0.2)


class _NothingRandom(TorchFunctionMode):
    """Fills tensors with zeros where they would be filled with random numbers."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, '__name__', '').endswith(RANDOM):
            return (args[0] if args else kwargs['tensor']).zero_()
        return func(*args, **kwargs)


def build_for_weights(model_config: dict) -> nn.Module:
    """The model without its random initialization, which takes longer than all else."""
    with _NothingRandom():
        return MODELS.build(model_config)
