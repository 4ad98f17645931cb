"""Drop path and dropout whose random numbers can be tied to the images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cmt_deeplab.errors import UserError

_generators: Sequence[torch.Generator] | None = None


@contextmanager
def draws_per_image(generators: Sequence[torch.Generator] | None) -> Iterator[None]:
    """Inside, every :class:`DropPath` and :class:`Dropout` uses ``generators[b]`` for image b.

    So several processes may share a batch. None leaves the draws to torch's global generator.
    """
    global _generators
    outer, _generators = _generators, generators
    try:
        yield
    finally:
        _generators = outer


def copied_generators(
    generators: Sequence[torch.Generator] | None = None,
) -> Sequence[torch.Generator] | None:
    """Generators in the same state as those given, by default those of the images; or None."""
    generators = _generators if generators is None else generators
    if generators is None:
        return None
    return [torch.Generator(one.device).set_state(one.get_state()) for one in generators]


def _keep(x: Tensor, drop_prob: float, *shape: int) -> Tensor:
    """(B, *shape): 0 where something is dropped, otherwise the factor that keeps the mean."""
    if _generators is None:
        kept = x.new_empty(len(x), *shape).bernoulli_(1.0 - drop_prob)
    else:
        draws = [torch.rand(shape, generator=one, device=one.device) for one in _generators]
        kept = (torch.stack(draws).to(x.device) >= drop_prob).to(x.dtype)
    return kept.div_(1.0 - drop_prob)


class DropPath(nn.Module):
    """While training, drops a residual branch of single images with probability ``drop_prob``.

    The branches of the other images are scaled to keep the mean.
    Source: "Deep Networks with Stochastic Depth" (ECCV 2016); one draw per image, as in deeplab2.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        if not 0.0 <= drop_prob < 1.0:
            raise UserError(f'drop_path must be in [0, 1), not {drop_prob}.')
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0.0:
            return x
        return x * _keep(x, self.drop_prob).view(-1, *[1] * (x.dim() - 1))


class Dropout(nn.Dropout):
    """``torch.nn.Dropout`` whose random numbers can be tied to the images."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0 or _generators is None:
            return F.dropout(x, self.p, self.training)
        return x * _keep(x, self.p, *x.shape[1:])
