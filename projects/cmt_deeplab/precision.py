"""The one rule of numeric precision of this package.

Softmax, logarithms, norms of vectors and long sums are computed in fp32 or better, whatever the
precision of the tensors that come in. torch's kernels for softmaxes, norms and matrix products do
so and give the precision of their inputs; docs/design.md has the ranges. Under autocast, which
would choose the precision itself, such code switches autocast off or converts its inputs here.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

LOWEST_LOGIT = -1e5  # below all of fp16; stands for the other entries where there are none


def widest_float(tensor: Tensor) -> torch.dtype:
    """fp64, or fp32 where the device of ``tensor`` lacks fp64, as Apple's MPS does."""
    try:
        return tensor.new_empty(0, dtype=torch.float64).dtype
    except (TypeError, RuntimeError):
        return torch.float32


def not_finite(tensors: Mapping[str, Any]) -> str | None:
    """The name of the first tensor with a number that is not finite, or None.

    A buffer of 0 and -inf alone, as masks of attention are, is in order.
    """
    for name, tensor in tensors.items():
        if isinstance(tensor, Tensor):
            if tensor.is_floating_point() and tensor.element_size() == 1:
                tensor = tensor.float()  # torch does not tell it of fp8
            if not torch.isfinite(tensor).all() and not _is_mask(tensor):
                return name
    return None


def _is_mask(tensor: Tensor) -> bool:
    zero = tensor == 0
    return bool(zero.any() and (zero | (tensor == -torch.inf)).all())


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Convert bf16 and fp16 to fp32; fp32 and fp64 stay as they are."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def softmax_log_odds(logits: Tensor) -> Tensor:
    """The log-odds ``log(p / (1 - p))`` of a softmax p over the first axis, for logits (N, P).

    This is each logit minus the logsumexp of all others. It is exact for any logits, and so is its
    gradient: for the best entry of a column, where 1 - p can round to 0, that sum is written out.
    """
    logits = at_least_fp32(logits)
    best, top = logits.max(0, keepdim=True)
    others = logits.scatter(0, top, LOWEST_LOGIT).logsumexp(0, keepdim=True)
    whole = torch.logaddexp(best, others)  # (1, P)
    share = (logits - whole).exp().clamp(max=0.5)  # only the best entry exceeds 0.5
    is_best = torch.zeros_like(logits, dtype=torch.bool).scatter(0, top, True)
    return logits - torch.where(is_best, others, whole + torch.log1p(-share))
