"""Weights that depend on their names alone, of a size that keeps deep networks alive."""

from zlib import crc32

import torch


def by_rule(name: str, shape: tuple, *, fan_in: int = 0, positive: bool = False) -> torch.Tensor:
    """Normal numbers, kernels divided by the root of ``fan_in``, vectors of a norm small; ``positive`` ones from 0.5 to 1.5."""
    generator = torch.Generator().manual_seed(crc32(name.encode()))
    if positive:
        return torch.rand(shape, generator=generator) + 0.5
    return torch.randn(shape, generator=generator) * (fan_in**-0.5 if fan_in else 0.2)
