"""Mixed precision on the CPU, and what the optimizer decays."""

import pytest
import torch
from cmt_deeplab.engine import PanopticAmpOptimWrapper, PanopticOptimWrapperConstructor
from mmdet.registry import OPTIM_WRAPPERS
from torch import nn

ADAMW = dict(type='AdamW', lr=1e-2, weight_decay=0.05)


def test_bf16_on_the_cpu_computes_in_bf16_and_learns():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    wrapper = PanopticAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    x, target = torch.randn(16, 4), torch.randn(16, 1)
    losses = []
    for _ in range(20):
        with wrapper.optim_context(model):
            out = model(x)
        assert out.dtype == torch.bfloat16
        loss = (out.float() - target).square().mean()
        wrapper.update_params(loss)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert model.weight.dtype == torch.float32


def test_the_state_survives_and_a_loss_scale_is_not_needed():
    model = nn.Linear(4, 1)
    wrapper = PanopticAmpOptimWrapper(optimizer=torch.optim.AdamW(model.parameters()))
    wrapper.update_params(model(torch.randn(2, 4)).sum())
    state = wrapper.state_dict()
    other = PanopticAmpOptimWrapper(optimizer=torch.optim.AdamW(model.parameters()))
    other.load_state_dict(state)
    assert 'loss_scaler' in state  # loading does not change what it is given
    assert other.optimizer.state_dict()['state'][0]['step'] == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason='fp16 is for GPUs')
def test_fp16_on_the_cpu_and_unknown_dtypes_are_refused_by_name():
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="use 'bfloat16' on the CPU"):
        PanopticAmpOptimWrapper(optimizer=optimizer, dtype='float16')
    with pytest.raises(ValueError, match='float8'):
        PanopticAmpOptimWrapper(optimizer=optimizer, dtype='float8')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_fp16_on_a_gpu_scales_the_loss_and_skips_overflows():
    model = nn.Linear(4, 1).cuda()
    wrapper = PanopticAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    before, scale = model.weight.detach().clone(), wrapper.loss_scaler.get_scale()
    with wrapper.optim_context(model):
        out = model(torch.randn(2, 4, device='cuda'))
    assert out.dtype == torch.float16
    wrapper.update_params(out.float().sum() * 1e30)
    assert torch.equal(before, model.weight) and wrapper.loss_scaler.get_scale() < scale


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.attention = nn.MultiheadAttention(4, 2)
        self.embedding = nn.Embedding(5, 4)
        self.centers = nn.Parameter(torch.zeros(4, 6))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def build(net: nn.Module, **paramwise_cfg):
    cfg = dict(type='OptimWrapper', optimizer=ADAMW)
    return PanopticOptimWrapperConstructor(cfg, paramwise_cfg or None)(net)


@pytest.mark.parametrize('factor', [None, 0.1])
def test_only_kernels_decay_and_groups_are_few(factor):
    net = Net()
    wrapper = build(
        net, **({} if factor is None else dict(custom_keys=dict(backbone=dict(lr_mult=factor))))
    )
    found = {
        id(p): (g['lr'], g['weight_decay'])
        for g in wrapper.optimizer.param_groups
        for p in g['params']
    }
    kernels = {net.backbone[0].weight, net.attention.in_proj_weight, net.attention.out_proj.weight}
    for name, parameter in net.named_parameters():
        if name.startswith('frozen'):
            assert id(parameter) not in found
            continue
        lr = 1e-2 * factor if factor and name.startswith('backbone') else 1e-2
        assert found[id(parameter)] == pytest.approx((lr, 0.05 if parameter in kernels else 0.0)), (
            name
        )
    assert len(wrapper.optimizer.param_groups) == (2 if factor is None else 4)
    assert sum(len(g['params']) for g in wrapper.optimizer.param_groups) == len(
        [p for p in net.parameters() if p.requires_grad]
    )


def test_mistakes_in_paramwise_cfg_are_named():
    with pytest.raises(ValueError, match='norm_decay_mult'):
        build(Net(), norm_decay_mult=0.0)
    with pytest.raises(ValueError, match="'backbones'"):
        build(Net(), custom_keys=dict(backbones=dict(lr_mult=0.1)))
    with pytest.raises(ValueError, match='lr_mul'):
        build(Net(), custom_keys=dict(backbone=dict(lr_mul=0.1)))


def test_it_is_built_from_a_config():
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    assert isinstance(
        OPTIM_WRAPPERS.build(dict(type='PanopticAmpOptimWrapper', optimizer=optimizer)),
        PanopticAmpOptimWrapper,
    )
