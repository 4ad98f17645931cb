"""A resumed run is the uninterrupted run."""

import pytest
import torch
from toy_run import toy_runner


def weights(runner) -> dict:
    return {key: value.clone() for key, value in runner.model.state_dict().items()}


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'optim_wrapper__type': 'PanopticAmpOptimWrapper'},
        {'optim_wrapper__accumulative_counts': 2},
        {
            'custom_hooks': [
                dict(
                    type='EMAHook',
                    ema_type='ExpMomentumEMA',
                    momentum=0.1,
                    update_buffers=True,
                    priority=49,
                )
            ]
        },
    ],
    ids=['plain', 'bf16', 'accumulation', 'ema'],
)
def test_a_resumed_run_gives_the_same_parameters_bit_by_bit(tmp_path, options):
    whole = toy_runner(tmp_path / 'whole', **options)
    whole.train()
    checkpoint = str(tmp_path / 'whole' / 'iter_4.pth')
    resumed = toy_runner(
        tmp_path / 'resumed', load_from=checkpoint, resume=True, randomness__seed=None, **options
    )
    torch.manual_seed(99)
    resumed.train()
    for key, value in weights(whole).items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key
    files = [
        torch.load(tmp_path / name / 'iter_8.pth', weights_only=True)
        for name in ('whole', 'resumed')
    ]
    first, second = (file['optimizer']['state'] for file in files)
    assert first.keys() == second.keys() and len(first) > 0
    for index in first:
        assert torch.equal(first[index]['exp_avg_sq'], second[index]['exp_avg_sq'])
        assert first[index]['step'] == second[index]['step']
    for key, value in files[0].get('ema_state_dict', {}).items():
        assert torch.equal(value, files[1]['ema_state_dict'][key]), key
    assert [s['last_step'] for s in files[0]['param_schedulers']] == [
        s['last_step'] for s in files[1]['param_schedulers']
    ]


def test_validation_does_not_move_the_random_generators(tmp_path):
    often = toy_runner(tmp_path / 'often', train_cfg__val_interval=1)
    often.train()
    never = toy_runner(tmp_path / 'never', train_cfg__val_interval=100)
    never.train()
    assert all(
        torch.equal(value, never.model.state_dict()[key]) for key, value in weights(often).items()
    )


def test_resuming_reads_no_image_of_the_past(tmp_path, monkeypatch):
    import toy

    toy_runner(tmp_path).train()
    read = []
    original = toy.ToyDataset.__getitem__
    monkeypatch.setattr(
        toy.ToyDataset,
        '__getitem__',
        lambda self, index: read.append(index) or original(self, index),
    )
    toy_runner(
        tmp_path,
        resume=True,
        load_from=str(tmp_path / 'iter_6.pth'),
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    ).train()
    assert len(read) == 2 * 2  # two iterations of two images


def test_a_resumed_run_does_not_look_for_pretrained_weights(tmp_path, monkeypatch):
    import toy

    calls = []
    monkeypatch.setattr(toy.ToyModel, 'init_weights', lambda self: calls.append(1))
    toy_runner(tmp_path, train_cfg__max_iters=2).train()
    toy_runner(tmp_path, resume=True, train_cfg__max_iters=4).train()
    toy_runner(
        tmp_path / 'fresh', resume=True, train_cfg__max_iters=2
    ).train()  # nothing to resume from
    assert len(calls) == 2


def test_the_images_of_a_resumed_run_are_those_of_the_whole_run(tmp_path, monkeypatch):
    import toy

    read = []
    original = toy.ToyDataset.__getitem__
    monkeypatch.setattr(
        toy.ToyDataset,
        '__getitem__',
        lambda self, index: read.append(index) or original(self, index),
    )
    without_validation = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
    toy_runner(tmp_path, **without_validation).train()
    whole = list(read)
    read.clear()
    toy_runner(
        tmp_path, resume=True, load_from=str(tmp_path / 'iter_6.pth'), **without_validation
    ).train()
    assert len(whole) == 16 and read == whole[12:]


def test_a_backbone_freezes_its_parts_from_the_first_iteration_on(tmp_path, monkeypatch):
    """As mmdet's ResNet does in ``train`` alone, by ``norm_eval`` and ``frozen_stages``."""
    runner, modes = toy_runner(tmp_path, train_cfg__max_iters=1), []
    kind, train = type(runner.model.backbone), type(runner.model.backbone).train
    monkeypatch.setattr(kind, 'train', lambda self, mode=True: train(self, False))
    runner.model.backbone.register_forward_pre_hook(lambda part, _: modes.append(part.training))
    runner.train()
    assert modes and not any(modes)
