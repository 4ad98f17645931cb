"""The norms of several processes against one norm of all their values, and on a pretended GPU.

The CUDA kernels are replaced by their formulas.
"""

from collections import Counter
from collections.abc import Sequence

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from cmt_deeplab.models.blocks import batch_norm_formulas, fused_batch_norm
from cmt_deeplab.models.blocks.conv_norm import together
from cmt_deeplab.models.blocks.norm import PanopticSyncBN, over_processes
from processes import in_processes
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

KERNELS = [name for name in dir(batch_norm_formulas) if name.startswith('batch_norm_')]
SHAPES = [((2, 6, 5, 4), (3, 6, 5, 4)), ((1, 6), (1, 6)), ((2, 6, 7), (1, 6, 9))]  # of two ranks


def made_norms(dtype: torch.dtype) -> list[PanopticSyncBN]:
    norms = [PanopticSyncBN(6).to(dtype) for _ in SHAPES]
    torch.manual_seed(0)
    for norm in norms:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norms


def made_maps(rank: int, dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor]]:
    """Maps of a mean that is large beside the deviation, and factors of the loss."""
    draw = torch.Generator().manual_seed(rank)
    maps = [3 * torch.randn(shapes[rank], generator=draw) + 50 for shapes in SHAPES]
    factors = [torch.randn(shapes[rank], generator=draw) for shapes in SHAPES]
    return [x.to(dtype) for x in maps], [x.to(dtype) for x in factors]


def stepped(norms: list, maps: list[Tensor], factors: list[Tensor]) -> dict[str, list]:
    """Outputs, gradients and averages of one step with parallel norms."""
    maps = [x.detach().requires_grad_() for x in maps]
    outputs = together(*zip(maps, norms))
    sum((out * factor).sum() for out, factor in zip(outputs, factors)).backward()
    return dict(
        outputs=[out.detach() for out in outputs],
        of_maps=[x.grad for x in maps],
        of_weights=[norm.weight.grad for norm in norms],
        of_biases=[norm.bias.grad for norm in norms],
        averages=[one for norm in norms for one in (norm.running_mean, norm.running_var)],
    )


def step_of_this_rank(dtype: torch.dtype, memory_format: torch.memory_format, parts: int) -> tuple:
    fused_batch_norm.parts_of = lambda x: parts if x.dim() == 4 else 1
    calls = Counter()
    for module, name in ((fused_batch_norm, '_gather'), (dist, 'all_reduce')):
        original = getattr(module, name)

        def counted(*args, original=original, name=name):
            calls[name] += 1
            return original(*args)

        setattr(module, name, counted)
    maps, factors = made_maps(dist.get_rank(), dtype)
    maps[0] = maps[0].to(memory_format=memory_format)
    norms = made_norms(torch.promote_types(dtype, torch.float32))
    return stepped(norms, maps, factors), dict(calls)


def by_channel(maps: list[Tensor]) -> Tensor:
    """The values of several maps (B, C, ...) as one, (1, C, all)."""
    return torch.cat([x.transpose(0, 1).flatten(1) for x in maps], dim=1).unsqueeze(0)


@pytest.mark.parametrize(
    'memory_format, parts',
    [(torch.contiguous_format, 1), (torch.contiguous_format, 5), (torch.channels_last, 1)],
)
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-9), (torch.bfloat16, 2e-2)])
def test_parallel_norms_of_two_processes_are_one_norm_of_all_values(
    dtype, tolerance, memory_format, parts
):
    """With one exchange forward and one backward; also if a channel is divided into parts."""
    ranks, counts = zip(*in_processes(2, step_of_this_rank, dtype, memory_format, parts))
    assert counts == (dict(_gather=1, all_reduce=1),) * 2
    maps, factors = ([made_maps(rank, dtype)[i] for rank in (0, 1)] for i in (0, 1))
    expected = stepped(
        made_norms(torch.float64),
        [by_channel(pair).double() for pair in zip(*maps)],
        [by_channel(pair).double() for pair in zip(*factors)],
    )
    close = dict(rtol=tolerance, atol=tolerance, check_dtype=False)
    for name, values in expected.items():
        pairs = list(zip(ranks[0][name], ranks[1][name]))
        if name in ('outputs', 'of_maps'):
            assert all(one.dtype == dtype for pair in pairs for one in pair)
            found = [by_channel(pair) for pair in pairs]
        else:  # DDP sums gradients of parameters; averages are those of every rank
            found = [one if name == 'averages' else one + other for one, other in pairs]
        torch.testing.assert_close(found, values, **close)


@pytest.mark.parametrize('parts', [1, 5])
@pytest.mark.parametrize(
    'needed', [(True, False, False), (False, True, False), (True, False, True)]
)
def test_gradients_of_some_of_map_weight_and_bias(monkeypatch, parts, needed):
    monkeypatch.setattr(fused_batch_norm, 'parts_of', lambda x: parts)
    norm = made_norms(torch.float64)[0]
    (x, *_), (factor, *_) = made_maps(0, torch.float64)
    tensors = (x, norm.weight, norm.bias)
    for tensor, need in zip(tensors, needed):
        tensor.requires_grad_(need)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    expected = F.batch_norm(x, None, None, norm.weight, norm.bias, True, eps=norm.eps)
    (output,) = over_processes([norm], [x])
    torch.testing.assert_close(
        torch.autograd.grad((output * factor).sum(), wanted),
        torch.autograd.grad((expected * factor).sum(), wanted),
    )


def on_a_pretended_gpu(shapes: Sequence[tuple]) -> tuple[list, dict]:
    """The outputs of a norm of 8 channels, and how often it called each kernel with which shape.

    Only shapes are known: a host that reads a value of the GPU would end with an error.
    """
    calls = Counter()
    kernels = torch.library.Library('aten', 'IMPL')

    def counted(name):
        def kernel(*args):
            calls[name, tuple(args[0].shape)] += 1
            return getattr(batch_norm_formulas, name)(*args)

        return kernel

    for name in KERNELS:
        kernels.impl(name, counted(name), 'Meta')
    outputs = []
    with FakeTensorMode(), torch.device('cuda'), torch.no_grad():
        norm = PanopticSyncBN(8)
        for shape in shapes:
            output = norm(torch.empty(shape, dtype=torch.bfloat16))
            outputs.append((output.device.type, output.dtype, tuple(output.shape)))
    return outputs, dict(calls)


@pytest.mark.parametrize(
    'shapes', [[(2, 8, 6, 4)], [(2, 8, 6, 4), (1, 8, 1, 1), (3, 8)]], ids=['one process', 'two']
)
def test_on_a_gpu_few_channels_are_divided_and_the_host_does_not_wait(shapes):
    for outputs, calls in in_processes(1 + (len(shapes) > 1), on_a_pretended_gpu, shapes):
        assert outputs == [('cuda', torch.bfloat16, shape) for shape in shapes]
        assert calls['batch_norm_stats', (2, 8 * 6, 1, 4)] == 1
        assert calls['batch_norm_elemt', (2, 8 * 6, 1, 4)] == 1
