"""Batch norms by the CUDA kernels of ``torch.nn.SyncBatchNorm``, over all processes."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed._functional_collectives as collectives
from mmengine.dist import get_world_size
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from . import batch_norm_formulas as formulas

# torch 2.13 has a new name for it, and warns of the old one
_gather = getattr(collectives, 'all_gather_single', None) or collectives.all_gather_tensor
FEW_CHANNELS, MOST_PARTS = 64, 1024


def parts_of(x: Tensor) -> int:
    """Into how many parts of equal size the kernels get the values of each channel.

    For contiguous maps they give each channel one of a GPU's more than hundred processors.
    """
    channels = x.shape[1]
    if not x.is_cuda or x.dim() != 4 or channels >= FEW_CHANNELS or not x.is_contiguous():
        return 1
    most = min(MOST_PARTS // channels, x.shape[2])
    return next(parts for parts in range(most, 0, -1) if x.shape[2] % parts == 0)


def _dense(x: Tensor, like: Tensor) -> Tensor:
    """``x`` in the memory layout of ``like``, contiguous or channels last, as the kernels read."""
    if like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last):
        return x.contiguous(memory_format=torch.channels_last)
    return x.contiguous()


def _kernels(x: Tensor) -> Any:
    """The module with the kernels for the device of ``x``."""
    return torch if x.is_cuda else formulas


def _divided(x: Tensor, parts: int) -> Tensor:
    """(B, C, H, W) as (B, C parts, H / parts, W)."""
    return x if parts == 1 else x.unflatten(2, (parts, -1)).flatten(1, 2)


def _repeated(parts: int, *rows: Tensor) -> Sequence[Tensor]:
    """Each row (C,) with its values for all parts of the channels, (C parts,)."""
    return rows if parts == 1 else torch.stack(rows).repeat_interleave(parts, dim=1)


def _summed(parts: int, rows: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Each row (C parts,) that is there, summed over the parts of its channels, (C,)."""
    there = [row for row in rows if row is not None]
    if parts == 1 or not there:
        return rows
    sums = iter(torch.stack(there).unflatten(1, (-1, parts)).sum(2))
    return [None if row is None else next(sums) for row in rows]


class FusedBatchNorm(torch.autograd.Function):
    """Normalizes maps (B, C, ...) over all axes but 1 and over all processes, one norm for each.

    It updates the running averages. One collective operation is needed forward and one backward
    for all norms together, and the host never waits for the GPU. ``torch.nn.SyncBatchNorm`` waits
    three times, because it leaves out processes without any value; a process that trains has at
    least one image. Half-precision values are summed in fp32. The kernel that merges the
    statistics of processes merges those of the parts of a channel too (:func:`parts_of`).
    """

    @staticmethod
    def forward(ctx: Any, norms: Sequence[_BatchNorm], *tensors: Tensor) -> tuple[Tensor, ...]:
        """``tensors`` are the maps, then the weights, then the biases of ``norms``."""
        number = len(norms)
        maps = [_dense(x, x) for x in tensors[:number]]
        weights, biases = tensors[number : 2 * number], tensors[2 * number :]
        kernels, ctx.parts = _kernels(maps[0]), [parts_of(x) for x in maps]
        local = []
        for norm, x, parts in zip(norms, maps, ctx.parts):
            mean, invstd = kernels.batch_norm_stats(_divided(x, parts), norm.eps)
            counts = mean.new_full((parts,), x.numel() // (x.shape[1] * parts))
            local += [mean, invstd, counts]
        rows = [row.unsqueeze(0) for row in local]  # each (processes, ...)
        if get_world_size() > 1:
            gathered = _gather(torch.cat(rows, dim=1), 0, dist.group.WORLD)
            rows = gathered.split([len(row) for row in local], dim=1)
        saved, outputs = [], []
        for i, (norm, x, parts) in enumerate(zip(norms, maps, ctx.parts)):
            *statistics, counts = rows[3 * i : 3 * i + 3]
            means, invstds = (
                row.unflatten(1, (-1, parts)).transpose(1, 2).flatten(0, 1) for row in statistics
            )  # each (processes parts, C)
            counts = counts.flatten()
            averages = (norm.running_mean, norm.running_var, norm.momentum, norm.eps)
            mean, invstd = kernels.batch_norm_gather_stats_with_counts(
                x, means, invstds, *averages, counts
            )
            weight, bias, mean, invstd = _repeated(parts, weights[i], biases[i], mean, invstd)
            divided = _divided(x, parts)
            output = kernels.batch_norm_elemt(divided, weight, bias, mean, invstd, norm.eps)
            # no view, which an activation in place would refuse
            outputs.append(torch.ops.aten._unsafe_view(output, x.shape) if parts > 1 else output)
            saved += [x, mean, invstd, weight.to(mean.dtype), counts.int()]
        ctx.save_for_backward(*saved)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, number = ctx.saved_tensors, len(grads)
        needed = [ctx.needs_input_grad[1 + i :: number] for i in range(number)]
        kernels, of_maps, of_weights, of_biases = _kernels(grads[0]), [], [], []
        sums, arguments = [], []
        for i, (grad, parts) in enumerate(zip(grads, ctx.parts)):
            x, *rows, counts = saved[5 * i : 5 * i + 5]
            maps = [_divided(_dense(one, x), parts) for one in (grad, x)]
            reduced = _summed(parts, kernels.batch_norm_backward_reduce(*maps, *rows, *needed[i]))
            sums.extend(reduced[:2] if needed[i][0] else ())
            of_weights.append(reduced[2])
            of_biases.append(reduced[3])
            arguments.append((*maps, *rows, counts))
        if sums and get_world_size() > 1:
            totals = torch.cat(sums)
            dist.all_reduce(totals)
            sums = totals.split([len(row) for row in sums])
        totals = iter(sums)
        for (grad, x, *rows, counts), parts, need in zip(arguments, ctx.parts, needed):
            of_x = None
            if need[0]:
                total = _repeated(parts, next(totals), next(totals))
                of_x = kernels.batch_norm_backward_elemt(grad, x, *rows, *total, counts)
                of_x = of_x.unflatten(1, (-1, parts)).flatten(2, 3) if parts > 1 else of_x
            of_maps.append(of_x)
        return None, *of_maps, *of_weights, *of_biases
