"""Batch norm over all processes by the CUDA kernels of ``torch.nn.SyncBatchNorm``."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

# torch 2.13 has a new name for it, and warns of the old one
_gather = getattr(dist, 'all_gather_single', None) or dist.all_gather_into_tensor


def _dense(x: Tensor) -> Tensor:
    """``x`` in a memory layout that the kernels read: channels last, or contiguous."""
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous()


class FusedSyncBatchNorm(torch.autograd.Function):
    """Normalizes (B, C, ...) over all axes but 1 and over all processes, and updates the averages.

    One collective operation is needed forward and one backward, and the host never waits for the
    GPU. ``torch.nn.SyncBatchNorm`` waits three times, because it leaves out processes without any
    value; a process that trains has at least one image. The formulas are those of Ioffe and
    Szegedy, "Batch Normalization" (2015); half-precision values are summed in fp32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        x, channels = _dense(x), x.shape[1]
        mean, invstd = torch.batch_norm_stats(x, eps)
        count = mean.new_full((1,), x.numel() // channels)
        local = torch.cat([mean, invstd, count]).unsqueeze(0)
        ranks = local.new_empty(dist.get_world_size(), local.shape[1])
        _gather(ranks, local)
        means, invstds, counts = ranks.split([channels, channels, 1], dim=1)
        counts = counts.flatten()
        mean, invstd = torch.batch_norm_gather_stats_with_counts(
            x, means, invstds, running_mean, running_var, momentum, eps, counts
        )
        ctx.save_for_backward(x, weight, mean, invstd, counts.int())
        return torch.batch_norm_elemt(x, weight, bias, mean, invstd, eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, invstd, counts = ctx.saved_tensors
        grad, needed = _dense(grad), ctx.needs_input_grad
        total, total_centered, of_weight, of_bias = torch.batch_norm_backward_reduce(
            grad, x, mean, invstd, weight, *needed[:3]
        )
        of_x = None
        if needed[0]:
            sums = torch.cat([total, total_centered])
            dist.all_reduce(sums)
            of_x = torch.batch_norm_backward_elemt(
                grad, x, mean, invstd, weight, *sums.chunk(2), counts
            )
        return of_x, of_weight, of_bias, None, None, None, None
