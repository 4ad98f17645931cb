"""The norm of several GPUs, its CUDA kernels replaced by their formulas on the CPU."""

from collections import Counter

import pytest
import torch
import torch.distributed as dist
from cmt_deeplab.models.blocks import fused_batch_norm
from cmt_deeplab.models.blocks.norm import PanopticSyncBN
from processes import in_processes
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode


def per_channel(value: Tensor, x: Tensor) -> Tensor:
    return value.view(1, -1, *[1] * (x.dim() - 2))


def summed(x: Tensor) -> Tensor:
    return x.sum([axis for axis in range(x.dim()) if axis != 1])


def widened(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


# The five kernels by what torch's derivatives.yaml and batch_norm.cu compute. As operators of the
# CPU they get the tensors that the kernels would get.


def stats(x, eps):
    wide, count = widened(x), x.numel() // x.shape[1]
    mean = summed(wide) / count
    var = summed((wide - per_channel(mean, x)) ** 2) / count
    return mean, (var + eps).rsqrt()


def gather_stats(x, means, invstds, running_mean, running_var, momentum, eps, counts):
    total, weights = counts.sum(), counts[:, None]
    mean = (weights * means).sum(0) / total
    variances = invstds**-2 - eps
    var = (weights * (variances + (means - mean) ** 2)).sum(0) / total
    running_mean.lerp_(mean, momentum)
    running_var.lerp_(var * total / (total - 1), momentum)
    return mean, (var + eps).rsqrt()


def normalized(x, weight, bias, mean, invstd, eps):
    normal = (widened(x) - per_channel(mean, x)) * per_channel(invstd, x)
    return (normal * per_channel(weight, x) + per_channel(bias, x)).to(x.dtype)


def backward_reduce(grad, x, mean, invstd, weight, of_x, of_weight, of_bias):
    grad = widened(grad)
    total = summed(grad)
    centered = summed(grad * (widened(x) - per_channel(mean, x)))
    return total, centered, centered * invstd, total


def backward_elemt(grad, x, mean, invstd, weight, total, centered, counts):
    share = 1 / counts.sum().to(centered.dtype)
    slope = per_channel(centered * share * invstd**2, x)
    inner = widened(grad) - per_channel(total * share, x)
    inner = inner - (widened(x) - per_channel(mean, x)) * slope
    return (inner * per_channel(invstd * weight, x)).to(x.dtype)


KERNELS = {
    'batch_norm_stats': stats,
    'batch_norm_gather_stats_with_counts': gather_stats,
    'batch_norm_elemt': normalized,
    'batch_norm_backward_reduce': backward_reduce,
    'batch_norm_backward_elemt': backward_elemt,
}
SHAPES = [((2, 6, 5, 4), (3, 6, 5, 4)), ((1, 6), (1, 6)), ((2, 6, 7), (1, 6, 9))]


def passed(forward, norm: nn.Module, x: Tensor, factor: Tensor) -> dict[str, Tensor]:
    """The output, all gradients and the state after one step."""
    x = x.detach().requires_grad_()
    output = forward(norm, x)
    (output * factor).sum().backward()
    gradients = {f'grad of {name}': value.grad for name, value in norm.named_parameters()}
    return dict(output=output.detach(), **gradients, grad=x.grad, **norm.state_dict())


def both_paths(dtype: torch.dtype, memory_format: torch.memory_format) -> list:
    """The operations of this rank for every shape: by the kernels, and in Python."""
    kernels = torch.library.Library('aten', 'IMPL')  # of this forked process alone
    for name, kernel in KERNELS.items():
        kernels.impl(name, kernel, 'CPU')
    found = []
    for shapes in SHAPES:
        generator = torch.Generator().manual_seed(dist.get_rank())
        x, factor = (torch.randn(shapes[dist.get_rank()], generator=generator) for _ in range(2))
        x = (3 * x + 50).to(dtype)  # a mean that is large beside the deviation
        if x.dim() == 4:
            x = x.to(memory_format=memory_format)
        pair = []
        for forward in (PanopticSyncBN._fused, PanopticSyncBN.forward):
            norm = PanopticSyncBN(6).to(torch.float64 if dtype == torch.float64 else torch.float32)
            torch.manual_seed(0)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            pair.append(passed(forward, norm, x, factor))
        found.append(pair)
    return found


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-9), (torch.bfloat16, 2e-2)])
def test_the_kernels_give_what_the_python_form_gives(dtype, tolerance, memory_format):
    for rank in in_processes(2, both_paths, dtype, memory_format):
        for fused, python in rank:
            del fused['num_batches_tracked'], python['num_batches_tracked']
            torch.testing.assert_close(fused, python, rtol=tolerance, atol=tolerance)
            assert fused['output'].dtype == dtype


def on_a_pretended_gpu() -> tuple[list, dict]:
    """The norm's output for three shapes as one of two processes, and what it called.

    Only shapes are known: a host that reads a value of the GPU would end with an error.
    """
    kernels = torch.library.Library('aten', 'IMPL')
    for name, kernel in KERNELS.items():
        kernels.impl(name, kernel, 'Meta')
    calls, outputs = Counter(), []
    fused_batch_norm._gather = lambda *_: calls.update(['gather'])
    with FakeTensorMode(), torch.device('cuda'), torch.no_grad():
        norm = PanopticSyncBN(6)
        for shape in ((2, 6, 5, 4), (1, 6, 1, 1), (3, 6)):
            output = norm(torch.empty(shape, dtype=torch.bfloat16))
            outputs.append((output.device.type, output.dtype, tuple(output.shape)))
    return outputs, dict(calls)


def test_on_a_gpu_there_is_one_collective_operation_and_no_waiting():
    for outputs, calls in in_processes(2, on_a_pretended_gpu):
        shapes = (2, 6, 5, 4), (1, 6, 1, 1), (3, 6)
        assert outputs == [('cuda', torch.bfloat16, shape) for shape in shapes]
        assert calls == dict(gather=3)
