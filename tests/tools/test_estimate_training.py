"""Estimates of a training step: counts by hand, the largest batch, ``batch='auto'``, the tool."""

import json
import sys
from pathlib import Path

import pytest
import torch
from cmt_deeplab.analysis.config_model import load_config
from cmt_deeplab.datasets import write_shapes
from cmt_deeplab.engine import PanopticDistributedDataParallel
from cmt_deeplab.errors import UserError
from cmt_deeplab.estimate import StepEstimate, estimate_step, largest_batch, settle_batch
from cmt_deeplab.estimate import batch as batches
from cmt_deeplab.estimate.ledger import Host, Ledger
from cmt_deeplab.estimate.step import ddp_buckets
from cmt_deeplab.models.blocks.norm import PanopticSyncBN
from cmt_deeplab.own_training.preparing import prepared
from command_line import ROOT, run
from mmdet.registry import MODELS
from mmengine.config import Config
from processes import in_processes
from run_tool import run_tool
from small_model import build_small, small_config
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

GIB = 2**30


def config(batch_size=2, **changes) -> Config:
    return Config(
        dict(
            default_scope='mmdet',
            model=small_config(data_preprocessor__size=(65, 65), **changes),
            train_dataloader=dict(batch_size=batch_size, dataset=dict()),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
            auto_scale_lr=dict(base_batch_size=8),
        )
    )


@pytest.fixture(scope='module')
def two():
    return estimate_step(config(), batch=2)


@pytest.fixture(scope='module')
def four():
    return estimate_step(config(), batch=4)


def saved_by_resnet50(batch: int, side: int) -> int:
    """Bytes: each convolution keeps its input, each norm its own, each ReLU works in place."""
    side //= 2
    numbers = 2 * 64 * side**2
    side //= 2
    numbers += 3 * 64 * side**2  # pooled, and where the largest values stood in 64 bits
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stage
        for block in range(blocks):
            first = side
            if block == 0 and stage:
                side //= 2
            numbers += 2 * width * first**2 + (2 + 2 * 4) * width * side**2
            numbers += 4 * width * side**2 if block == 0 else 0  # the shortcut's convolution
    return 4 * batch * numbers


def test_what_resnet50_keeps_for_its_gradients_is_the_count_by_hand():
    model = MODELS.build(dict(type='ResNet', depth=50, norm_eval=False))
    model.train()
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True), ledger:
        model.to_empty(device='cpu')
        images = torch.empty(2, 3, 128, 128)
        before = ledger.live
        kept = model(images)
    assert len(kept) == 4
    assert ledger.live - before == pytest.approx(saved_by_resnet50(2, 128), rel=0.01)


def test_weights_gradients_and_states_are_those_of_the_parameters(two):
    model = build_small(data_preprocessor__size=(65, 65))
    numbers = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert two.gradients == numbers
    assert two.optimizer == pytest.approx(2 * numbers, rel=0.5)  # blocks of 512 bytes
    assert two.peaks['optimizer'] >= two.weights + two.gradients + two.optimizer


def test_memory_grows_with_the_batch_and_the_largest_one_just_fits(two, four):
    assert two.weights == four.weights
    assert all(four.peaks[phase] > two.peaks[phase] for phase in ('forward', 'backward'))
    enough = four.peak / batches.USED_SHARE + 1
    assert largest_batch(two, four, enough) == 4
    assert largest_batch(two, four, enough - 1e4) == 3
    assert largest_batch(two, four, two.weights) == 0


def test_one_process_needs_no_collectives_and_places_are_those_of_this_package(two):
    assert two.collectives == 0
    assert two.phases['backward'].flops > 1.5 * two.phases['forward'].flops > 0
    assert any(row['place'].startswith('models/') for row in two.largest)
    wrapper = two.files['engine/optim/wrappers.py']  # it goes through lists, not one by one
    assert wrapper.kernels < 40


def test_a_model_that_recomputes_takes_less_memory_under_autocast_too():
    estimates = []
    for with_cp in (False, True):
        cfg = config(with_cp=with_cp)
        cfg.optim_wrapper.type = 'PanopticAmpOptimWrapper'
        estimates.append(estimate_step(cfg, batch=2))
    plain, recomputing = estimates
    assert recomputing.peak < 0.95 * plain.peak
    assert recomputing.phases['backward'].kernels > 1.2 * plain.phases['backward'].kernels


def test_several_gpus_take_collectives_for_norms_and_the_buckets_of_gradients(two):
    several = estimate_step(config(), batch=2, gpus=2)
    norms = [m for m in build_small().modules() if isinstance(m, PanopticSyncBN)]
    others = 2  # the bucket of gradients, and whether all is finite
    assert others < several.collectives <= 2 * len(norms) + others  # some norms share theirs
    # Gradients lie in the buckets, which would take a quarter more otherwise.
    assert several.peaks['optimizer'] == pytest.approx(two.peaks['optimizer'], rel=0.05)


@pytest.mark.parametrize('cap', [0.5, 50, None])
def test_buckets_are_counted_as_torch_fills_them(cap):
    cfg, layers = Config(dict(model_wrapper_cfg=dict(bucket_cap_mb=cap))), []
    for _ in range(5):
        layers.append(nn.Linear(256, 256 if cap else 1024))
        layers.append(nn.Linear(layers[-1].out_features, 256))
    network = nn.Sequential(*layers)

    def filled() -> int:
        model = PanopticDistributedDataParallel(network, bucket_cap_mb=cap)
        for _ in range(3):  # torch fills them anew after the first, and tells after the second
            model(torch.randn(1, 256)).sum().backward()
        return len(model._get_ddp_logging_data()['rebuilt_bucket_sizes'].split(','))

    # In a process that ends without destructors: a DDP model that dies after its process group can
    # wait forever for a thread of gloo, which waits for Python (torch 2.13).
    (number,) = in_processes(1, filled)
    assert ddp_buckets(cfg, [*network.parameters()]) == number
    assert number == {0.5: 5, 50: 1, None: 2}[cap]


def test_the_host_reads_what_follows_from_shapes_alone():
    ledger = Ledger()
    with FakeTensorMode(allow_non_fake_inputs=True), ledger, Host(ledger):
        shapes = [torch._shape_as_tensor(torch.empty(2, 3, side, 7))[2:] for side in (4, 5)]
        assert [int(h * w) for h, w in torch.stack(shapes)] == [28, 35]
        assert int(torch.empty(2, dtype=torch.int64).sum()) == 1  # any number
    assert sum(ledger.waits.values()) == 3


@pytest.mark.slow
def test_an_estimate_follows_what_mmdet_reads_of_the_shapes_of_maps():
    leaf = 'configs/cmt_deeplab/cmt-deeplab_r50_msdeformattn_8xb8-150k_coco-panoptic-641.py'
    cfg = load_config(Path(__file__).resolve().parents[2] / leaf, {})
    cfg.model.data_preprocessor.size = (65, 65)
    step = estimate_step(cfg, batch=1)
    read = {row['place'].partition(':')[0]: row['number'] for row in step.waits}
    assert read.pop('models/pixel_decoders/neck.py') > 50  # mmdet reads sizes from the GPU
    assert read == {'criterion/assigner.py': 1}


@pytest.fixture
def by_formula(monkeypatch):
    """An estimate of 1 GiB, and 2 GiB for each image; the numbers of the calls."""
    asked = []

    def estimate(cfg, *, batch, gpus):
        asked.append((batch, gpus))
        peaks = dict(forward=GIB, backward=(1 + 2 * batch) * GIB)
        nothing = dict(weights=0, gradients=0, optimizer=0, collectives=0)
        return StepEstimate(
            batch, gpus, (65, 65), peaks=peaks, largest=[], waits=[], phases={}, files={}, **nothing
        )

    monkeypatch.setattr(batches, 'estimate_step', estimate)
    return asked


@pytest.mark.parametrize(
    'memory, expected, accumulated',
    [(100, 8, 1), (100, 4, 2), (10, 4, 1), (1e9, 8, 1), (3 / 0.9 + 0.01, 1, 1)],
)
def test_auto_takes_what_fits_up_to_the_batch_of_the_learning_rate(
    monkeypatch, by_formula, memory, expected, accumulated
):
    monkeypatch.setattr(batches, 'free_memory', lambda processes: memory * GIB)
    cfg = config('auto')
    cfg.optim_wrapper.accumulative_counts = accumulated
    said = settle_batch(cfg)
    assert cfg.train_dataloader.batch_size == expected
    assert cfg.auto_scale_lr.enable
    assert f"batch_size='auto': {expected} images of 65x65 pixels" in said
    assert settle_batch(cfg) is None


def test_own_data_are_trained_with_what_fits(monkeypatch, by_formula, tmp_path, capsys):
    monkeypatch.setattr(batches, 'free_memory', lambda processes: 6 * GIB)
    write_shapes(tmp_path / 'data', num_train=3, num_val=1, size=64)
    cfg = prepared(
        tmp_path / 'data',
        tmp_path / 'run',
        model='cmt-tiny',
        opening={},
        image_size=64,
        windows=False,
        iters=4,
        batch='auto',
        weights=None,
        seed=0,
    )
    assert (cfg.train_dataloader.batch_size, cfg.auto_scale_lr.enable) == (2, True)
    assert "batch_size='auto': 2 images of" in capsys.readouterr().out
    assert "batch_size='auto'" in (tmp_path / 'run' / 'short.py').read_text(encoding='utf-8')


def test_auto_is_settled_before_a_runner_has_set_the_scope():
    """In a process of its own, as an earlier runner in this one has set mmengine's scope."""
    leaf = ROOT / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
    program = f"""if True:
        from mmengine.config import Config
        from cmt_deeplab.engine.config_overrides import merge_overrides
        from cmt_deeplab.estimate import settle_batch
        cfg = Config.fromfile({str(leaf)!r})
        merge_overrides(cfg, ['train_dataloader.batch_size=auto'])
        print(settle_batch(cfg))
    """
    finished = run(sys.executable, '-c', program)
    assert finished.stdout.startswith("batch_size='auto': 8 images"), finished.stderr[-2000:]


def test_auto_counts_the_processes_of_the_launcher(monkeypatch, by_formula):
    monkeypatch.setattr(batches, 'free_memory', lambda processes: 100 * GIB)
    monkeypatch.setenv('WORLD_SIZE', '4')
    cfg = config('auto')
    cfg.launcher = 'pytorch'
    settle_batch(cfg)
    assert (cfg.train_dataloader.batch_size, by_formula) == (2, [(2, 4)])


def test_auto_where_no_image_fits_is_told_in_one_sentence(monkeypatch, by_formula):
    monkeypatch.setattr(batches, 'free_memory', lambda processes: 2 * GIB)
    with pytest.raises(UserError, match='Not one image of 65x65 pixels fits into the 2.0 GiB'):
        settle_batch(config('auto'))
    cfg = config('auto')
    cfg.auto_scale_lr = None
    with pytest.raises(UserError, match='needs auto_scale_lr.base_batch_size'):
        settle_batch(cfg)


@pytest.mark.parametrize('limit, expected', [('max', 4), (f'{GIB}\n', 1), (f'{9 * GIB}', 4)])
def test_free_ram_is_what_the_machine_and_the_container_leave(tmp_path, limit, expected):
    assert batches.free_ram(tmp_path) > 0  # no such file, as on other systems
    (tmp_path / 'proc').mkdir()
    (tmp_path / 'sys/fs/cgroup').mkdir(parents=True)
    memory = 'MemTotal: 9 kB\nMemAvailable:    4194304 kB\n'
    (tmp_path / 'proc/meminfo').write_text(memory, encoding='utf-8')
    (tmp_path / 'sys/fs/cgroup/memory.max').write_text(limit, encoding='utf-8')
    assert batches.free_ram(tmp_path) == expected * GIB


def test_the_command_prints_tables_and_writes_all_figures(monkeypatch, tmp_path, two, four):
    asked = []

    def estimate(cfg, *, batch, gpus, device='cpu'):
        asked.append((cfg.optim_wrapper.type, batch, gpus, str(device)))
        return {2: two, 4: four}[batch]

    monkeypatch.setattr('cmt_deeplab.estimate.estimate_step', estimate)
    monkeypatch.setattr('cmt_deeplab.estimate.pretended_device', lambda: 'pretended')
    path, out = tmp_path / 'small.py', tmp_path / 'out.json'
    path.write_text(config().pretty_text, encoding='utf-8')
    done = run_tool(
        'analysis_tools/estimate_training.py', path, '--batch', 4, '--amp', '--json', out
    )
    assert done.returncode == 0, done.stderr
    devices = ((4, 1, 'cpu'), (2, 1, 'cpu'), (4, 1, 'pretended'))
    assert asked == [('PanopticAmpOptimWrapper', *each) for each in devices]
    assert 'An estimate for each of 1 GPUs with 4 images of 65x65' in done.stdout
    assert 'criterion/assigner.py' in done.stdout
    figures = json.loads(out.read_text(encoding='utf-8'))
    assert figures['fits']['80 GB'] > figures['fits']['24 GB'] > 1000
    assert figures['peak'] == max(figures['peaks'].values()) > figures['weights']


def test_models_of_others_are_refused_in_one_sentence():
    cfg = config()
    cfg.model = dict(type='ResNet', depth=18)
    with pytest.raises(UserError, match='does not say how large its images are'):
        estimate_step(cfg, batch=1)
    cfg.train_dataloader.dataset.image_size = (64, 64)
    with pytest.raises(UserError, match='The model ResNet cannot be estimated'):
        estimate_step(cfg, batch=1)
