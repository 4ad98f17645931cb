"""Axial attention against explicit loops and against gathered positions; residual blocks."""

import copy

import cmt_deeplab  # noqa: F401
import pytest
import torch
from cmt_deeplab.models.backbones import MaXWideResNet
from cmt_deeplab.models.blocks import axial_attention
from cmt_deeplab.models.blocks.axial_attention import AxialAttention, AxialAttention2D
from cmt_deeplab.models.blocks.residual_blocks import AxialBlock, BottleneckBlock, build_block_group


def _with_spread_norms(module, x):
    """Scales and shifts away from 1 and 0, so that swapped channels show; averages of ``x``."""
    for name, parameter in module.named_parameters():
        if 'norm' in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    norms = [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    for momentum in (1.0, 0.01):
        for norm in norms:
            norm.momentum = momentum
        if momentum == 1.0:
            with torch.no_grad():
                module(x)
    return module


def _attend_by_loops(attention, x):
    """One query, one memory position, one head at a time; norms over the whole batch."""
    batch, _, length = x.shape
    heads, kd, vd = (
        attention.num_heads,
        attention.key_depth // attention.num_heads,
        attention.value_depth // attention.num_heads,
    )
    span = attention.query_positions.span
    qkv = attention.qkv(x)
    similarity = x.new_zeros(batch, 3, heads, length, length)

    def part(b, h, position, offset, depth):
        start = offset + h * depth
        return qkv[b, start : start + depth, position]

    def embedding(table, query, memory):
        return table.weight[min(max(memory - query, 1 - span), span - 1) + span - 1]

    positions = [
        (b, h, q, m)
        for b in range(batch)
        for h in range(heads)
        for q in range(length)
        for m in range(length)
    ]
    for b, h, q, m in positions:
        query, key = part(b, h, q, 0, kd), part(b, h, m, attention.key_depth, kd)
        similarity[b, 0, h, q, m] = query @ key
        similarity[b, 1, h, q, m] = query @ embedding(attention.query_positions, q, m)
        similarity[b, 2, h, q, m] = key @ embedding(attention.key_positions, q, m)
    normed = attention.similarity_norm(similarity.flatten(1, 2)).view_as(similarity)
    weights = normed.sum(1).softmax(-1)
    retrieved = x.new_zeros(batch, 2, heads, vd, length)
    for b, h, q, m in positions:
        retrieved[b, 0, h, :, q] += weights[b, h, q, m] * part(b, h, m, 2 * attention.key_depth, vd)
        retrieved[b, 1, h, :, q] += weights[b, h, q, m] * embedding(attention.value_positions, q, m)
    normed = attention.retrieved_norm(retrieved.reshape(batch, -1, length, 1))
    return normed.view(batch, 2, -1, length).sum(1)


def _attend_by_gathering(attention, x):
    """The L x L x d form of the sources."""
    batch, _, length = x.shape
    heads, span = attention.num_heads, attention.query_positions.span
    q, k, v = attention.qkv(x).split(
        [attention.key_depth, attention.key_depth, attention.value_depth], 1
    )
    q, k, v = (part.reshape(batch, heads, -1, length) for part in (q, k, v))
    distance = torch.arange(length)[None] - torch.arange(length)[:, None]
    index = distance.clamp(1 - span, span - 1) + span - 1
    to_query, to_key, to_value = (
        table.weight[index]
        for table in (attention.query_positions, attention.key_positions, attention.value_positions)
    )
    terms = [
        torch.einsum('bhdl,bhdm->bhlm', q, k),
        torch.einsum('bhdl,lmd->bhlm', q, to_query),
        torch.einsum('bhdm,lmd->bhlm', k, to_key),
    ]
    similarity = (
        attention.similarity_norm(torch.cat(terms, 1)).view(batch, 3, heads, length, length).sum(1)
    )
    weights = similarity.softmax(-1)
    retrieved = torch.cat(
        [
            torch.einsum('bhlm,bhdm->bhdl', weights, v),
            torch.einsum('bhlm,lmd->bhdl', weights, to_value),
        ],
        1,
    )
    normed = attention.retrieved_norm(retrieved.reshape(batch, -1, length, 1))
    return normed.view(batch, 2, -1, length).sum(1)


def _both_axes(attend, attention, x):
    batch, channels, height, width = x.shape
    x = attend(
        attention.height_axis, x.permute(0, 3, 1, 2).reshape(batch * width, channels, height)
    )
    x = x.reshape(batch, width, -1, height)[..., :: attention.stride].permute(0, 3, 2, 1)
    height = x.shape[1]
    x = attend(attention.width_axis, x.reshape(batch * height, -1, width))
    return x.reshape(batch, height, -1, width)[..., :: attention.stride].permute(0, 2, 1, 3)


def _attention(span=255, **kwargs):
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(axial_attention, 'MAX_SPAN', span)
        attention = AxialAttention2D(12, key_depth=8, value_depth=16, num_heads=2, **kwargs)
    return _with_spread_norms(attention, torch.randn(2, 12, 11, 13))


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('span', [255, 3])
def test_equals_explicit_loops_at_7x5(span, training):
    attention = _attention(span=span).train(training)
    x = torch.randn(1, 12, 7, 5)
    with torch.no_grad():
        expected = _both_axes(_attend_by_loops, copy.deepcopy(attention).double(), x.double())
        gathered = _both_axes(_attend_by_gathering, copy.deepcopy(attention).double(), x.double())
        torch.testing.assert_close(gathered, expected, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(
            copy.deepcopy(attention)(x).double(), expected, rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(attention.double()(x.double()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    'size, span', [((41, 41), 255), ((65, 97), 255), ((6, 40), 9), ((1, 2), 255)]
)
def test_equals_gathered_positions(size, span):
    attention = _attention(span=span).eval()
    x = torch.randn(1, 12, *size)
    with torch.no_grad():
        expected = _both_axes(_attend_by_gathering, copy.deepcopy(attention).double(), x.double())
        torch.testing.assert_close(attention(x).double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(attention.double()(x.double()), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('size, span, stride', [((7, 5), 255, 1), ((12, 9), 4, 2)])
def test_gradients_equal_those_of_gathered_positions(size, span, stride):
    ours = _attention(span=span, stride=stride).double()
    theirs = copy.deepcopy(ours)
    x = torch.randn(2, 12, *size, dtype=torch.double)
    gradients = []
    for attend, module in (
        (lambda a, y: a(y), ours),
        (lambda a, y: _both_axes(_attend_by_gathering, a, y), theirs),
    ):
        leaf = x.clone().requires_grad_()
        (
            attend(module, leaf) * torch.linspace(-1, 1, 16, dtype=torch.double).view(1, -1, 1, 1)
        ).pow(2).sum().backward()
        gradients.append([leaf.grad, *(p.grad for p in module.parameters())])
    assert all(gradient.abs().max() > 0 for gradient in gradients[0][1:] if gradient.dim() > 1)
    for ours_gradient, theirs_gradient in zip(*gradients):
        torch.testing.assert_close(ours_gradient, theirs_gradient, rtol=1e-8, atol=1e-8)


def test_no_tensor_of_gathered_positions_and_nothing_from_the_host():
    """No tensor of L x L x d values per head is stored, and every operation stays on the device."""
    from torch.utils._python_dispatch import TorchDispatchMode

    length, depth, batch, heads = 24, 32, 1, 1
    attention = AxialAttention(8, key_depth=depth, value_depth=depth, num_heads=heads)
    sizes, copies = [], []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes.append(out.untyped_storage().nbytes() // out.element_size())
            if 'lift_fresh' in str(func) or '_to_copy' in str(func):
                copies.append(str(func))
            return out

    x = torch.randn(batch, 8, length)
    with Record():
        attention(x)
    assert max(sizes) < length * length * depth
    assert not copies


@pytest.mark.parametrize('norm_cfg', [dict(type='BN'), dict(type='GN', num_groups=2), None])
def test_any_norm(norm_cfg):
    attention = _attention(norm_cfg=norm_cfg).double()
    x = torch.randn(2, 12, 6, 5, dtype=torch.double)
    torch.testing.assert_close(
        attention(x), _both_axes(_attend_by_gathering, attention, x), rtol=1e-9, atol=1e-9
    )


def test_group_norm_keeps_images_apart():
    attention = _attention(norm_cfg=dict(type='GN', num_groups=2)).double()
    x = torch.randn(2, 12, 6, 5, dtype=torch.double)
    torch.testing.assert_close(attention(x)[:1], attention(x[:1]), rtol=1e-9, atol=1e-9)


def test_bf16_autocast_and_compile():
    attention = _attention().eval()
    x = torch.randn(2, 12, 9, 6)
    with torch.no_grad():
        expected = attention(x)
        with torch.autocast('cpu', torch.bfloat16):
            half = attention(x)
        assert half.dtype == torch.bfloat16
        assert (half.float() - expected).norm() / expected.norm() < 2e-2
        compiled = torch.compile(attention, backend='aot_eager', fullgraph=True)(x)
    torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-5)


def test_compiled_gradients():
    torch.manual_seed(0)
    attention = AxialAttention(12, key_depth=8, value_depth=16, num_heads=2)
    x, weight = torch.randn(3, 12, 5), torch.randn(3, 16, 5)
    gradients = []
    for module in (
        attention,
        torch.compile(copy.deepcopy(attention), backend='aot_eager', fullgraph=True),
    ):
        (module(x) * weight).sum().backward()
        gradients.append([p.grad for p in module.parameters()])
    for eager, compiled in zip(*gradients):
        torch.testing.assert_close(eager, compiled, rtol=1e-4, atol=1e-4)


def test_depths_must_divide_by_the_heads():
    with pytest.raises(ValueError, match='multiples of its . heads'):
        AxialAttention(8, key_depth=6, value_depth=8, num_heads=4)


@pytest.mark.parametrize('block', [BottleneckBlock, AxialBlock])
def test_block_is_its_shortcut_at_the_start_and_subsamples_corners(block):
    module = block(32, 8, stride=2, act_cfg=dict(type='ReLU'))
    assert module.shortcut is None
    x = torch.randn(2, 32, 9, 7)
    torch.testing.assert_close(module(x), x.relu()[..., ::2, ::2])
    module = block(12, 8, stride=2)
    torch.nn.init.ones_(module.expand.norm.weight)
    assert module(x[:, :12]).shape == (2, 32, 5, 4)
    assert module(x[:, :12, :8, :6]).shape == (2, 32, 4, 3)


def test_pixel_decoder_groups_have_the_published_size():
    """kMaX-DeepLab's pixel decoder for R50: four groups, the 1x1 of the fusions, four norms."""
    filters, skips = (512, 256, 128, 64), (2048, 1024, 512, 256)
    with torch.device('meta'):
        groups = [
            build_block_group([(kind, 0.0)] * n, in_channels, f)
            for kind, in_channels, f, n in zip(
                ('axial', 'axial', 'bottleneck', 'bottleneck'),
                (2048, 256, 128, 64),
                filters,
                (1, 5, 1, 1),
            )
        ]
    fusions = sum(
        (4 * filters[i - 1] + skips[i]) * filters[i] + 4 * filters[i] for i in range(1, 4)
    )
    total = (
        sum(p.numel() for group in groups for p in group.parameters()) + fusions + 2 * sum(skips)
    )
    assert total == 21_151_040
    assert [group[-1].out_channels for group in groups] == [2048, 1024, 512, 256]


def test_group_of_blocks():
    bottlenecks = [('bottleneck', 0.1), ('bottleneck', 0.1), ('bottleneck', 0.2)]
    group = build_block_group(bottlenecks, 16, 8, stride=2, dilation=2)
    assert group(torch.randn(1, 16, 9, 8)).shape == (1, 32, 5, 4)
    assert [block.middle.conv.dilation for block in group] == [(2, 2)] * 3
    assert [block.drop_path.drop_prob for block in group] == [0.1, 0.1, 0.2]
    axial, basic = [('bottleneck', 0.0), ('axial', 0.0)], [('basic', 0.0)] * 2
    group = build_block_group(axial, 16, 8, stride=2)
    assert group(torch.randn(2, 16, 9, 8)).shape == (2, 32, 5, 4)
    assert [type(block) for block in group] == [BottleneckBlock, AxialBlock]
    group = build_block_group(basic, 16, 8)
    assert group(torch.randn(2, 16, 5, 4)).shape == (2, 32, 5, 4)
    with pytest.raises(ValueError, match='one of axial, bottleneck, basic, not'):
        build_block_group([('round', 0.0)], 16, 8)
    with pytest.raises(ValueError, match='at least one block'):
        build_block_group([], 16, 8)
    with pytest.raises(ValueError, match='at least one each'):
        MaXWideResNet(num_blocks=(3, 0, 6))
    with pytest.raises(ValueError, match="AxialBlock does not take 'dilation'"):
        build_block_group([('axial', 0.0)], 16, 8, dilation=2)
