"""with_cp of the whole model: less is kept for the backward pass, and nothing else changes."""

from copy import deepcopy

import pytest
import torch
from cmt_deeplab.models.blocks.recompute import recompute_always
from small_model import build_small
from test_detector import losses_of, make_batch, open_gammas
from test_stages import kept_bytes

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


def state_after_a_step(model) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    losses = losses_of(model, make_batch((6, 3)))
    sum(losses.values()).backward()
    gradients = {f'grad of {name}': value.grad for name, value in model.named_parameters()}
    return dict(losses, **gradients, **model.state_dict())


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
