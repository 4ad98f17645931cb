"""Drop path and dropout whose draws can be tied to the images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmt_deeplab.errors import UserError

_generators: Sequence[torch.Generator] | None = None


@contextmanager
def draws_per_image(generators: Sequence[torch.Generator] | None) -> Iterator[None]:
    """Inside, every :class:`DropPath` and :class:`Dropout` draws for image b from ``generators[b]``, so that processes may share a batch."""
    global _generators
    outer, _generators = _generators, generators
    try:
        yield
    finally:
        _generators = outer


def _draw(x: Tensor, *shape: int) -> Tensor:
    """Uniform numbers (B, *shape) on the device of ``x``, image by image where the draws are tied to the images."""
    if _generators is None:
        return torch.rand(x.shape[0], *shape, device=x.device)
    draws = [
        torch.rand(shape, generator=generator, device=generator.device) for generator in _generators
    ]
    return torch.stack(draws).to(x.device)


class DropPath(nn.Module):
    """Drops the residual branch of an image with probability ``drop_prob`` while training and scales the others to keep the mean.

    Source: "Deep Networks with Stochastic Depth" (ECCV 2016); one draw an image, as in deeplab2.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        if not 0.0 <= drop_prob < 1.0:
            raise UserError(f'drop_path must be in [0, 1), not {drop_prob}')
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0.0:
            return x
        keep = (_draw(x) >= self.drop_prob).to(x.dtype) / (1.0 - self.drop_prob)
        return x * keep.view(-1, *[1] * (x.dim() - 1))

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob}'


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` whose draws can be tied to the images."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0 or _generators is None:
            return F.dropout(x, self.p, self.training)
        return x * ((_draw(x, *x.shape[1:]) >= self.p).to(x.dtype) / (1.0 - self.p))
