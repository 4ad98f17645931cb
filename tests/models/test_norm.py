"""The norm of the package against torch's, and one norm_cfg for every number of channels."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.drop_path import Dropout, DropPath, draws_per_image
from cmt_deeplab.models.blocks.norm import PanopticLayerNorm, PanopticSyncBN, build_norm, normalize
from torch import nn


@pytest.mark.parametrize('shape', [(4, 6, 5, 3), (4, 6, 7), (8, 6)])
def test_equals_batch_norm_on_one_process(shape):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 3 + 2
    ours, theirs = (
        PanopticSyncBN(6),
        (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(6, eps=1e-3, momentum=0.01),
    )
    torch.testing.assert_close(ours(x), theirs(x))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name in ('weight', 'bias', 'running_mean', 'running_var'):
        value = theirs.state_dict()[name]
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_one_value_a_channel_gives_the_bias_and_leaves_the_averages():
    norm = PanopticSyncBN(3)
    nn.init.constant_(norm.bias, 0.5)
    x = torch.tensor([[1.0, -2.0, 7.0]], requires_grad=True)
    output = norm(x)
    output.sum().backward()
    torch.testing.assert_close(output, torch.full((1, 3), 0.5))
    assert torch.isfinite(x.grad).all()
    assert torch.equal(norm.running_mean, torch.zeros(3)) and torch.equal(
        norm.running_var, torch.ones(3)
    )


@pytest.mark.parametrize('kind', ['BN', 'SyncBN', 'PanopticSyncBN'])
def test_a_globally_pooled_image_alone_in_its_batch_trains_under_every_batch_norm(kind):
    block = ConvNorm(4, 6, norm_cfg=dict(type=kind))
    nn.init.normal_(block.norm.bias)
    x = torch.randn(1, 4, 1, 1, requires_grad=True)
    out = block(x)
    torch.testing.assert_close(
        out, block.norm.bias.view(1, 6, 1, 1), rtol=1e-3, atol=1e-3
    )  # torch's eps enlarges rounding
    out.sum().backward()
    assert (
        all(torch.isfinite(t.grad).all() for t in (x, *block.parameters()))
        and (block.norm.running_mean == 0).all()
    )


def test_frozen_norm_uses_its_averages_and_trains_nothing():
    norm = PanopticSyncBN(2, frozen=True).train()
    norm.running_mean.fill_(1.0)
    x = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(norm(x), (x - 1) / (1 + 1e-3) ** 0.5)
    assert not any(p.requires_grad for p in norm.parameters())


@pytest.mark.parametrize('channels, groups', [(1, 1), (8, 8), (24, 8), (256, 32)])
def test_group_norm_takes_the_groups_that_divide(channels, groups):
    assert build_norm(dict(type='GN', num_groups=32), channels).num_groups == groups


class ScaleOnly(nn.Module):
    """A norm of a user: one scale per channel."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.scale


NORM_TYPES = [
    'BN',
    'SyncBN',
    'PanopticSyncBN',
    'GN',
    'IN',
    'PanopticLayerNorm',
    'mmengine.BN',
    'mmdet.GN',
    PanopticSyncBN,
    PanopticLayerNorm,
    nn.BatchNorm2d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    ScaleOnly,
]


@pytest.mark.parametrize('kind', NORM_TYPES)
@pytest.mark.parametrize('channels', [1, 12, 32])
def test_every_norm_trains_on_maps_and_on_one_value_per_channel(channels, kind):
    """By name and by class; 32 channels are as many as there are groups."""
    torch.manual_seed(0)
    norm = build_norm(dict(type=kind), channels)
    for size in ((3, 5), (1, 1)):
        x = torch.randn(1, channels, *size, requires_grad=True)
        output = normalize(norm, x)
        assert output.shape == x.shape and torch.isfinite(output).all()
        output.square().sum().backward()
        assert torch.isfinite(x.grad).all()
        if size != (1, 1):
            assert output.std() > 0.1 and all(p.grad.abs().sum() > 0 for p in norm.parameters())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_layer_norm_sums_up_the_gradients_of_half_precision_in_fp32(dtype):
    """torch's kernel on the CPU does not: it gives 2 % of this sum."""
    norm = PanopticLayerNorm(4)
    x = torch.randn(1, 4, 150, 150).to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype):
        output = norm(x)
    output.backward(torch.ones_like(output))
    assert output.dtype == x.grad.dtype == dtype
    torch.testing.assert_close(norm.bias.grad, torch.full((4,), 150.0**2))


def test_mask_logits_are_no_constant_under_a_layer_norm():
    """A layer norm of one channel would give its bias everywhere."""
    norm = build_norm(dict(type='PanopticLayerNorm'), 1, gamma=0.5)
    x = torch.randn(2, 1, 3, 4)
    expected = 0.5 * nn.functional.layer_norm(x, (1, 3, 4))
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize(
    'kind, options',
    [
        ('NoSuchNorm', {}),
        ('LN', {}),
        (nn.LayerNorm, {}),
        ('BN1d', {}),
        ('BN3d', {}),
        ('IN1d', {}),
        ('IN3d', {}),
        (nn.RMSNorm, {}),
        ('GELU', {}),
        ('Conv2d', {}),
        ('BN', dict(momentun=0.1)),
        (nn.Conv2d, {}),
    ],
)
def test_what_is_no_norm_of_maps_is_refused_with_what_is(kind, options):
    with pytest.raises(UserError, match='^norm_cfg.*GN.*PanopticLayerNorm'):
        build_norm(dict(type=kind, **options), 8)


@pytest.mark.parametrize('config', ['BN', dict(eps=1e-3), dict(type='GN', num_groups=0)])
def test_a_norm_without_a_type_or_groups_is_refused(config):
    with pytest.raises(UserError, match='^norm_cfg'):
        build_norm(config, 8)


@pytest.mark.parametrize(
    'kind', ['ReLU', 'GELU', 'mmdet.SiLU', 'Clip', 'HSwish', nn.GELU, nn.Mish, nn.Softplus]
)
def test_activations_by_name_and_by_class_leave_their_input_alone(kind):
    options = dict(inplace=True) if kind == 'ReLU' else {}
    activation, x = build_activation(dict(type=kind, **options)), torch.randn(2, 3, 4, 5)
    before = x.clone()
    assert activation(x).shape == x.shape and torch.equal(x, before)
    assert activation.training


@pytest.mark.parametrize(
    'config',
    [
        dict(type=nn.GLU),
        dict(type='PReLU', num_parameters=8),
        dict(type='BN'),
        dict(type='NoSuchActivation'),
        dict(type=nn.Threshold),
        dict(type='ReLU', inplac=True),
        'ReLU',
    ],
)
def test_what_is_no_activation_of_maps_is_refused_with_what_is(config):
    with pytest.raises(UserError, match='^act_cfg.*GELU'):
        build_activation(config)


def test_a_norm_may_be_built_without_memory():
    with torch.device('meta'):
        assert build_norm(dict(type='GN'), 8).weight.is_meta


@pytest.mark.parametrize('module', [DropPath(0.5), Dropout(0.5)])
def test_tied_draws_follow_the_image_not_the_batch(module):
    module.train()
    x = torch.ones(4, 3, 2, 2)

    def draw(images):
        with draws_per_image([torch.Generator().manual_seed(i) for i in images]):
            return module(x[: len(images)])

    together = draw(range(4))
    assert torch.equal(torch.cat([draw([0, 1]), draw([2, 3])]), together)
    assert set(together.unique().tolist()) == {0.0, 2.0}


def test_drop_path_keeps_the_mean():
    torch.manual_seed(0)
    assert DropPath(0.3).train()(torch.ones(20000, 1)).mean().item() == pytest.approx(1.0, abs=0.03)
    with pytest.raises(ValueError, match=r'\[0, 1\)'):
        DropPath(1.0)


@pytest.mark.parametrize('shape', [(6, 1), (1, 6), (2, 3)])
@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize('batch', [1, 2])
def test_gradient_through_a_transposition_equals_the_formula(batch, channels_last, shape):
    """torch's CPU batch norm alone fails this for a batch of one."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 4, *shape, generator=generator, dtype=torch.double)
    if channels_last:
        x = x.to(memory_format=torch.channels_last)
    x.requires_grad_()
    norm = PanopticSyncBN(4).double().train()
    weight = torch.randn(batch, 6, 4, generator=generator, dtype=torch.double)
    (norm(x).flatten(2).transpose(1, 2) * weight).sin().sum().backward()
    found, x.grad = x.grad, None
    centered = x - x.mean((0, 2, 3), keepdim=True)
    output = centered * torch.rsqrt(centered.square().mean((0, 2, 3), keepdim=True) + norm.eps)
    (output.flatten(2).transpose(1, 2) * weight).sin().sum().backward()
    torch.testing.assert_close(found, x.grad)
    if shape == (2, 3):
        assert found.is_contiguous(
            memory_format=torch.channels_last if channels_last else torch.contiguous_format
        )


def test_a_norm_with_its_own_forward_is_called_also_by_several_processes(monkeypatch):
    class Twice(PanopticSyncBN):
        def forward(self, x):
            return 2 * super().forward(x)

    block, x = ConvNorm(3, 4, norm_cfg=dict(type=Twice)), torch.randn(2, 3, 5, 5)
    expected = block(x)
    for module in ('norm', 'conv_norm'):
        monkeypatch.setattr(f'cmt_deeplab.models.blocks.{module}.get_world_size', lambda: 2)
    torch.testing.assert_close(block(x), expected)
