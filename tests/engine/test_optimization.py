"""Mixed precision on the CPU, what the optimizer decays, and the learning rate by iteration."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from cmt_deeplab.engine import (
    PanopticAmpOptimWrapper,
    PanopticOptimWrapperConstructor,
    PanopticWarmupPolyLR,
)
from cmt_deeplab.engine.optim.optimization import is_kernel
from cmt_deeplab.errors import UserError
from mmcv.ops import ModulatedDeformConv2d
from mmdet.registry import MODELS, OPTIM_WRAPPERS, PARAM_SCHEDULERS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn
from toy_run import toy_runner

ADAMW = dict(type='AdamW', lr=1e-2, weight_decay=0.05)
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.mark.skipif(torch.cuda.is_available(), reason='on a GPU it is of the GPU')
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


def test_the_optimizer_gets_every_argument_of_its_config():
    cfg = dict(type='OptimWrapper', optimizer=dict(ADAMW, eps=1e-7, betas=(0.8, 0.9)))
    optimizer = PanopticOptimWrapperConstructor(cfg)(Net()).optimizer
    assert {group['eps'] for group in optimizer.param_groups} == {1e-7}
    assert {group['betas'] for group in optimizer.param_groups} == {(0.8, 0.9)}


def decayed(net: nn.Module) -> tuple[Counter, Counter]:
    """By class and name: the parameters that decay, and the others with more than one axis."""
    kernels, others = Counter(), Counter()
    for module in net.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if is_kernel(module, name):
                kernels[type(module).__name__, name] += 1
            elif parameter.ndim > 1:
                others[type(module).__name__, name] += 1
    return kernels, others


CENTERS = {('CMTTransformerDecoder', 'centers'): 1}


@pytest.mark.parametrize(
    'leaf, kernels, others',
    [
        (
            'kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py',
            {('Conv2d', 'weight'): 192},
            {('RelativePositions', 'weight'): 36, **CENTERS},
        ),
        (
            'kmax_deeplab/kmax-deeplab_axial-r50_8xb8-150k_coco-panoptic-641.py',
            {('Conv2d', 'weight'): 202},
            {('RelativePositions', 'weight'): 84, **CENTERS},
        ),
        (
            'cmt_deeplab/cmt-deeplab_r50_msdeformattn_8xb8-150k_coco-panoptic-641.py',
            {('Conv2d', 'weight'): 189, ('Linear', 'weight'): 36},
            {('Embedding', 'weight'): 1, **CENTERS},
        ),
    ],
)
def test_relative_positions_embeddings_and_centers_do_not_decay(leaf, kernels, others):
    init_default_scope('mmdet')
    cfg = Config.fromfile(CONFIGS / leaf)
    with torch.device('meta'):
        net = MODELS.build(cfg.model)
    assert decayed(net) == (kernels, others)
    cfg.optim_wrapper.pop('constructor')
    paramwise = cfg.optim_wrapper.pop('paramwise_cfg', None)
    wrapper = PanopticOptimWrapperConstructor(cfg.optim_wrapper, paramwise)(net)
    groups = wrapper.optimizer.param_groups
    assert {group['weight_decay'] for group in groups} == {0.0, 0.05}
    sizes = [len(group['params']) for group in groups if group['weight_decay']]
    unread = sum(not p.requires_grad and p.dim() > 1 for p in net.parameters())  # of a neck
    assert sum(sizes) == sum(kernels.values()) - unread


def test_kernels_of_other_libraries_decay_and_their_tables_do_not():
    swin = MODELS.build(dict(type='mmdet.SwinTransformer'))
    kernels, others = decayed(swin)
    assert set(kernels) == {('Conv2d', 'weight'), ('Linear', 'weight')}
    assert set(others) == {('WindowMSA', 'relative_position_bias_table')}

    timm = pytest.importorskip('timm')
    vit = timm.create_model('vit_tiny_patch16_224', depth=1)
    kernels, others = decayed(vit)
    assert set(kernels) == {('Conv2d', 'weight'), ('Linear', 'weight')}
    assert {name for _, name in others} == {'cls_token', 'pos_embed'}

    attention = nn.MultiheadAttention(4, 2, kdim=3, add_bias_kv=True)
    kernels, others = decayed(attention)
    assert {name for _, name in kernels} >= {'q_proj_weight', 'k_proj_weight', 'v_proj_weight'}
    assert {name for _, name in others} == {'bias_k', 'bias_v'}

    assert decayed(ModulatedDeformConv2d(4, 4, 3))[0] == {('ModulatedDeformConv2d', 'weight'): 1}


def learning_rates(iterations: tuple, *, max_iters: int, **options) -> list[float]:
    """The factors of the learning rate at some iterations of a run of two parameter groups."""
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD(
        [dict(params=parameters[:1], lr=0.5), dict(params=parameters[1:], lr=0.05)], lr=1.0
    )
    scheduler = PARAM_SCHEDULERS.build(
        dict(type='PanopticWarmupPolyLR', by_epoch=False, end=max_iters, **options),
        default_args=dict(optimizer=optimizer, epoch_length=10),
    )
    optimizer.step()
    factors = []
    for iteration in range(max(iterations) + 1):
        if iteration in iterations:
            fast, slow = (group['lr'] for group in optimizer.param_groups)
            assert fast == pytest.approx(10 * slow, abs=1e-15)
            factors.append(fast / 0.5)
        scheduler.step()
    return factors


def test_the_schedule_is_that_of_deeplab2():
    """trainer/trainer_utils.py: t / 5000 up to the warm-up, then the decay counted from 0."""
    iterations = (0, 1, 2500, 4999, 5000, 5001, 60000, 149999)
    found = learning_rates(iterations, max_iters=150000)
    expected = [t / 5000 if t < 5000 else (1 - t / 150000) ** 0.9 for t in iterations]
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[4] < 0.97 < found[3]  # the learning rate drops where the warm-up ends


def test_the_schedule_is_that_of_kmax_deeplab():
    """train_net_utils.py: detectron2's warm-up from 0.001, then the same decay."""
    iterations = (0, 10, 99, 100, 150)
    found = learning_rates(iterations, max_iters=200, warmup=100, start_factor=0.001)
    expected = [0.001 * (1 - t / 100) + t / 100 for t in (0, 10, 99)]
    expected += [(1 - t / 200) ** 0.9 for t in (100, 150)]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    'leaf, start_factor, eps',
    [
        ('kmax_deeplab/kmax-deeplab_r50-tf_8xb8-150k_coco-panoptic-641.py', 0.0, 1e-7),
        ('kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py', 0.001, 1e-8),
        ('cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py', 0.0, 1e-7),
        ('max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py', 0.0, 1e-7),
    ],
)
def test_the_recipes_do_not_multiply_the_warm_up_with_the_decay(leaf, start_factor, eps):
    cfg = Config.fromfile(CONFIGS / leaf)
    assert cfg.optim_wrapper.optimizer.eps == eps
    length = cfg.train_cfg.max_iters
    (schedule,) = cfg.param_scheduler
    assert schedule.pop('type') == 'PanopticWarmupPolyLR' and not schedule.pop('by_epoch')
    found = learning_rates((0, 2500, 4999, 5000, 60000), max_iters=length, **schedule)
    warm_up = [start_factor * (1 - t / 5000) + t / 5000 for t in (0, 2500, 4999)]
    decay = [(1 - t / length) ** 0.9 for t in (5000, 60000)]
    assert found == pytest.approx(warm_up + decay, rel=1e-12)


def test_the_runner_gives_the_schedule_the_length_of_the_training(tmp_path):
    schedule = dict(type='PanopticWarmupPolyLR', by_epoch=False, warmup=2)
    options = dict(param_scheduler=[schedule], train_cfg__max_iters=6, val_evaluator=None)
    options.update(val_dataloader=None, val_cfg=None)
    runner = toy_runner(tmp_path / 'whole', **options)
    runner.train()
    scheduler = runner.param_schedulers[0]
    assert isinstance(scheduler, PanopticWarmupPolyLR) and scheduler.end == 6
    resumed = toy_runner(
        tmp_path / 'resumed', load_from=str(tmp_path / 'whole/iter_4.pth'), resume=True, **options
    )
    resumed.train()
    for first, second in zip(runner.optim_wrapper.param_groups, resumed.optim_wrapper.param_groups):
        assert first['lr'] == second['lr'] == pytest.approx(1e-2 * (1 - 5 / 6) ** 0.9)


@pytest.mark.parametrize('old', [None, [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=2),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=6),
]])  # fmt: skip
def test_a_resumed_run_follows_the_schedule_of_its_config(tmp_path, old):
    """A longer training, and a checkpoint of version 0.1.0, which had two schedulers."""
    schedule = dict(type='PanopticWarmupPolyLR', warmup=2, by_epoch=False)
    options = dict(val_evaluator=None, val_dataloader=None, val_cfg=None)
    first = dict(options, param_scheduler=old or [schedule], train_cfg__max_iters=4)
    toy_runner(tmp_path / 'first', **first).train()
    checkpoint = dict(load_from=str(tmp_path / 'first/iter_4.pth'), resume=True)
    options.update(param_scheduler=[schedule], train_cfg__max_iters=10, **checkpoint)
    resumed = toy_runner(tmp_path / 'resumed', **options)
    resumed.train()
    for group in resumed.optim_wrapper.param_groups:
        assert group['lr'] == pytest.approx(1e-2 * (1 - 9 / 10) ** 0.9)


def test_a_run_shorter_than_the_warm_up_ends_within_it():
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    scheduler = PanopticWarmupPolyLR(optimizer, end=4, warmup=8, by_epoch=False)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]['lr'] == pytest.approx(0.1 * 3 / 8)


@pytest.mark.parametrize('options', [dict(by_epoch=True), dict(warmup=-1)])
def test_a_schedule_that_cannot_be_is_refused(options):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    with pytest.raises(UserError, match='param_scheduler has warmup='):
        PanopticWarmupPolyLR(optimizer, **dict(dict(end=9, warmup=1, by_epoch=False), **options))


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
