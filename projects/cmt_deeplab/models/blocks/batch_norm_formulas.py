"""The kernels of torch's synchronized batch norm as formulas, for devices that lack them.

They have the names and the arguments that they have in ``torch``, and compute what torch's
``derivatives.yaml`` and ``batch_norm.cu`` say: Ioffe and Szegedy, "Batch Normalization" (2015).
Statistics are in fp32 at least. Maps are (B, C, ...), statistics (C,), those of all processes
(processes, C).
"""

import torch
from torch import Tensor

from cmt_deeplab.precision import at_least_fp32


def _per_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.view(-1, *[1] * (x.dim() - 2))


def _sums(x: Tensor) -> Tensor:
    return x.sum([axis for axis in range(x.dim()) if axis != 1])


def _centered(x: Tensor, mean: Tensor) -> Tensor:
    return at_least_fp32(x) - _per_channel(mean, x)


def batch_norm_stats(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation of each channel, of this process."""
    # Squares of centered values: a variance of sums of squares loses its digits where the mean is
    # large.
    axes = [axis for axis in range(x.dim()) if axis != 1]
    var, mean = torch.var_mean(at_least_fp32(x), axes, correction=0)
    return mean, (var + eps).rsqrt()


def batch_norm_gather_stats_with_counts(
    x: Tensor,
    means: Tensor,
    invstds: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    momentum: float,
    eps: float,
    counts: Tensor,
) -> tuple[Tensor, Tensor]:
    """Mean and inverse standard deviation over all processes; updates the running averages."""
    total, weights = counts.sum(), counts[:, None]
    mean = (weights * means).sum(0) / total
    var = (weights * (invstds**-2 - eps + (means - mean) ** 2)).sum(0) / total
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(var * total / (total - 1).clamp(min=1), momentum)
    return mean, (var + eps).rsqrt()


def batch_norm_elemt(
    x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, invstd: Tensor, eps: float
) -> Tensor:
    """The normalized maps."""
    scale = _per_channel(invstd * weight, x)
    return (_centered(x, mean) * scale + _per_channel(bias, x)).to(x.dtype)


def batch_norm_backward_reduce(
    grad: Tensor, x: Tensor, mean: Tensor, invstd: Tensor, weight: Tensor, *needed: bool
) -> tuple[Tensor | None, ...]:
    """Sums of the gradient and of its product with x, and the gradients of weight and bias.

    ``needed`` says so of x, weight and bias; what the others alone need is None.
    """
    grad, (of_x, of_weight, of_bias) = at_least_fp32(grad), needed
    total, with_centered = _sums(grad), _sums(grad * _centered(x, mean))
    sums = (total, with_centered) if of_x else (None, None)
    return *sums, with_centered * invstd if of_weight else None, total if of_bias else None


def batch_norm_backward_elemt(
    grad: Tensor,
    x: Tensor,
    mean: Tensor,
    invstd: Tensor,
    weight: Tensor,
    total: Tensor,
    with_centered: Tensor,
    counts: Tensor,
) -> Tensor:
    """The gradient of x from the sums over all processes."""
    count = counts.sum()
    slope = _per_channel(with_centered / count * invstd**2, x)
    inner = at_least_fp32(grad) - _per_channel(total / count, x) - _centered(x, mean) * slope
    return (inner * _per_channel(invstd * weight, x)).to(x.dtype)
