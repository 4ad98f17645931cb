"""with_cp of the whole model: less is kept for the backward pass, and nothing else changes."""

import weakref
from collections import Counter
from copy import deepcopy

import pytest
import torch
from cmt_deeplab.estimate.pretended import pretended_gpus
from cmt_deeplab.models.blocks import conv_norm
from cmt_deeplab.models.blocks.recompute import recompute_always
from small_model import build_small
from test_detector import losses_of, make_batch, open_gammas
from test_stages import kept_bytes
from torch.utils._python_dispatch import TorchDispatchMode

DRAWS = dict(
    seed_per_image=3,
    panoptic_head__pixel_decoder__drop_path=0.3,
    panoptic_head__transformer_decoder__layer__drop_path=0.3,
)
LAYER = 'panoptic_head__transformer_decoder__layer'
LAYERS = {
    'cmt': {},
    'kmax': {LAYER: dict(type='KMaXLayer', hidden_channels=32, heads=4, drop_path=0.3)},
    'max': {LAYER: dict(type='MaXLayer', hidden_channels=32, heads=4, drop_path=0.3)},
}


class Pyramid(torch.nn.Module):
    """A backbone that knows nothing of with_cp."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x[..., ::stride, ::stride] for stride in (4, 8, 16, 32)]


def built(**changes):
    torch.manual_seed(0)
    model = build_small(**DRAWS, **changes)
    open_gammas(model)
    return model.train()


def state_after_a_step(model, half: bool = False) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    with torch.autocast('cpu', torch.bfloat16, enabled=half):
        losses = losses_of(model, make_batch((6, 3)))
    sum(losses.values()).backward()
    gradients = {f'grad of {name}': value.grad for name, value in model.named_parameters()}
    return dict(losses, **gradients, **model.state_dict())


@pytest.mark.parametrize('half', [False, True])
def test_what_convolutions_read_of_activations_is_made_again(monkeypatch, half):
    """To the last bit."""
    found = state_after_a_step(built(), half)
    monkeypatch.setattr(conv_norm, 'keeping_recipe', lambda convolution, x: convolution(x))
    for name, value in state_after_a_step(built(), half).items():
        assert torch.equal(value, found[name]), name


@pytest.mark.parametrize('activation, kept', [('GELU', False), ('SiLU', False), ('ReLU', True)])
def test_convolutions_keep_activations_that_keep_their_output(activation, kept):
    """And no others, while the gradient is still to come."""
    block = conv_norm.ConvNorm(3, 3, norm_cfg=None, act_cfg=dict(type=activation))
    active = block(torch.randn(2, 3, 4, 4))
    alive, out = weakref.ref(active), block(active)
    del active
    assert (alive() is not None) == kept
    out.sum().backward()


def test_an_activation_that_is_changed_in_place_is_kept_as_it_is():
    """And a changed input, which would give wrong gradients, is an error as in torch."""
    block = conv_norm.ConvNorm(3, 3, norm_cfg=None, act_cfg=dict(type='GELU'))
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    twice = block(x).mul_(2)
    block.conv(twice).sum().backward()
    expected, block.conv.weight.grad = block.conv.weight.grad, None
    block._convolved(block(x).mul_(2)).sum().backward()
    torch.testing.assert_close(block.conv.weight.grad, expected)
    y = 1 * x
    out = block._convolved(conv_norm.remember(torch.sin, (y,), y.sin()))
    y.add_(1)
    with pytest.raises(RuntimeError, match='in place'):
        out.sum().backward()


def test_weights_that_are_changed_in_place_before_the_gradient_are_an_error():
    """As in torch, whose own check ends where tensors are made again."""
    blocks = [conv_norm.ConvNorm(3, 3, norm_cfg=None, act_cfg=dict(type='GELU')) for _ in 'ab']
    loss = blocks[1](blocks[0](torch.randn(2, 3, 4, 4))).sum()
    with torch.no_grad():
        blocks[1].conv.weight.mul_(2)
    with pytest.raises(RuntimeError, match='in place'):
        loss.backward()


class Noisy(torch.nn.GELU):
    def forward(self, x):
        return super().forward(x) + torch.rand_like(x)


@pytest.mark.parametrize('frozen', [False, True])
def test_an_activation_of_a_user_or_of_frozen_maps_is_kept(frozen):
    kind = torch.nn.GELU if frozen else Noisy
    block = conv_norm.ConvNorm(3, 3, norm_cfg=None, act_cfg=dict(type=kind))
    block.requires_grad_(not frozen)
    assert not hasattr(block(torch.randn(2, 3, 4, 4)), 'recipe')


def test_transforms_of_torch_func_take_gradients():
    """They refuse tensors that are made again, and their tensors have no memory of their own."""
    blocks = [conv_norm.ConvNorm(3, 3, norm_cfg=None, act_cfg=dict(type='GELU')) for _ in 'ab']
    model, x = torch.nn.Sequential(*blocks), torch.randn(2, 3, 4, 4)
    weights = dict(model.named_parameters())
    call = torch.func.functional_call
    found = torch.func.grad(lambda weights: call(model, weights, (x,)).sum())(weights)
    model(x).sum().backward()
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight.grad)
    torch.testing.assert_close(torch.vmap(model)(x.unsqueeze(1)).squeeze(1), model(x))


def test_a_second_gradient_is_right_or_an_error(monkeypatch):
    """torch gives out only once what it has kept of recomputed blocks."""
    block = conv_norm.ConvNorm(3, 3, norm_cfg=dict(type='PanopticSyncBN')).train()
    recompute_always(block)
    for long in (512, 1):
        monkeypatch.setattr('cmt_deeplab.models.blocks.recompute.LONG', long)
        block.zero_grad()
        loss = block(torch.randn(2, 3, 4, 4)).square().sum()
        loss.backward(retain_graph=True)
        once = block.norm.weight.grad.clone()
        if long > 1:
            loss.backward()
            torch.testing.assert_close(block.norm.weight.grad, 2 * once)
        else:
            with pytest.raises(RuntimeError, match='only allowed to backward once'):
                loss.backward()


@pytest.mark.parametrize('layer', LAYERS)
def test_a_model_that_recomputes_its_blocks_trains_the_same(layer):
    """To the last bit: losses, gradients, running averages; also a copy, as EMA makes one."""
    plain = state_after_a_step(built(**LAYERS[layer]))
    recomputing = state_after_a_step(deepcopy(built(with_cp=True, **LAYERS[layer])))
    assert plain.keys() == recomputing.keys()
    for name, value in plain.items():
        assert torch.equal(value, recomputing[name]), name


def test_any_part_is_recomputed_on_demand():
    model, parts = built(), []
    for name in ('predictor', 'stages.0.0.predictor', 'stages.0.0.pixel_project'):
        part = model.panoptic_head.transformer_decoder.get_submodule(name)
        part.register_forward_pre_hook(lambda part, inputs: parts.append(part))
        recompute_always(part)
        parts.append(part)
    expected = set(parts)
    parts.clear()
    changed = state_after_a_step(model)
    assert set(parts) == expected
    for name, value in state_after_a_step(built()).items():
        assert torch.equal(value, changed[name]), name


class Calls(TorchDispatchMode):
    """Counts the operators that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.number = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number[func.namespace] += 1
        self.number[func._overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


def calls_of_a_step(**changes) -> Counter:
    model = built(**changes)
    with Calls() as calls:
        output = model.network(torch.randn(2, 3, 65, 65))
        masks = [one.mask_logits.sum() for one in output.decoder.predictions]
        (output.semantic_logits.sum() + sum(masks)).backward()
    return calls.number


def test_neither_exchanges_among_processes_nor_long_products_are_repeated(monkeypatch):
    """For two processes that are pretended."""
    monkeypatch.setattr('cmt_deeplab.models.blocks.recompute.LONG', 1)
    with pretended_gpus(2):
        plain, recomputing = calls_of_a_step(), calls_of_a_step(with_cp=True)
    for name in ('_c10d_functional', 'c10d', 'var_mean', 'bmm', 'convolution'):
        assert plain[name] == recomputing[name] > 0, name
    assert recomputing['gelu'] > plain['gelu']


def test_recomputed_blocks_compile():
    block, x = (
        conv_norm.ConvNorm(3, 3, norm_cfg=dict(type='PanopticSyncBN')),
        torch.randn(2, 3, 4, 4),
    )
    plain = deepcopy(block)
    recompute_always(block)
    torch.compile(block, backend='aot_eager', fullgraph=True)(x).square().sum().backward()
    plain(x).square().sum().backward()
    torch.testing.assert_close(block.conv.weight.grad, plain.conv.weight.grad)
    torch.testing.assert_close(block.norm.running_var, plain.norm.running_var)


def kept(**changes) -> int:
    model = built(**changes)
    return kept_bytes(model, model.network, side=65)


def test_backbone_and_head_keep_less():
    """A part that has its own ``with_cp`` keeps it, and a backbone without one stays as it is."""
    plain, head, both = kept(), kept(with_cp=True, backbone__with_cp=False), kept(with_cp=True)
    assert both < head < plain and both < 0.5 * plain
    assert build_small(with_cp=True, backbone=dict(type=Pyramid)).panoptic_head is not None


def test_a_norm_that_reads_its_averages_while_it_trains_is_repeated():
    class Scaled(torch.nn.BatchNorm2d):
        def forward(self, x):
            scale = self.running_var.mean()
            return super().forward(x) * scale

    norm, x = Scaled(3), torch.randn(2, 3, 4, 4)
    expected = deepcopy(norm)
    (expected(x) ** 2).sum().backward()
    recompute_always(norm)
    (norm(x) ** 2).sum().backward()
    torch.testing.assert_close(norm.weight.grad, expected.weight.grad)
    torch.testing.assert_close(norm.running_var, expected.running_var)
