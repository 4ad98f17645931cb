"""Whatever the sampler and batch sampler: a resumed run is the unbroken one, or it says why not."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from cmt_deeplab.engine.loop import loader_check
from cmt_deeplab.errors import UserError
from mmdet.registry import DATA_SAMPLERS
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from processes import in_processes
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, Sampler
from toy import ToyDataset
from toy_run import toy_runner

BY_RATIO = dict(type='AspectRatioBatchSampler')
FINITE = dict(type='DefaultSampler', shuffle=True)
TWO_SETS = dict(dataset=dict(_delete_=True, type='ToyConcatDataset'))


class Losses(Hook):
    def __init__(self):
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append((data_batch['index'], outputs['loss'].item()))


@DATA_SAMPLERS.register_module()
class GlobalSampler(Sampler):
    """A user's own, which draws from the random generators of the process; it has no length."""

    def __init__(self, dataset, seed):
        self.dataset = dataset

    def __iter__(self):
        return iter(RandomSampler(self.dataset))


@DATA_SAMPLERS.register_module()
class PairSampler(Sampler):
    """A user's own batch sampler, which has no length either."""

    def __init__(self, sampler, batch_size):
        self.sampler, self.batch_size = sampler, batch_size

    def __iter__(self):
        yield from zip(*[iter(self.sampler)] * self.batch_size)


@DATA_SAMPLERS.register_module()
class ForgetfulSampler(GlobalSampler):
    """One whose order follows from nothing that a run could repeat."""

    starts = 0

    def __iter__(self):
        type(self).starts += 1
        return iter([self.starts % 7, *range(9)])


def loader(**options) -> dict:
    return {f'train_dataloader__{key}': value for key, value in options.items()}


def train(folder, **options):
    """Images and losses of each iteration; resumed where ``folder`` holds a run of before."""
    hook = Losses()
    settings = dict(options, val_dataloader=None, val_cfg=None, val_evaluator=None)
    if (folder / 'iter_6.pth').is_file():
        settings |= dict(resume=True, load_from=str(folder / 'iter_6.pth'), randomness__seed=None)
        folder = folder / 'resumed'
        torch.manual_seed(99)
    runner = toy_runner(folder, train_cfg__max_iters=10, **settings)
    runner.register_hook(hook)
    runner.train()
    return runner, hook.values


@pytest.mark.parametrize(
    'options',
    [
        dict(batch_sampler=BY_RATIO),
        dict(batch_sampler=dict(type=BY_RATIO['type'], drop_last=True), sampler=FINITE),
        dict(batch_sampler=BY_RATIO, sampler=FINITE, num_workers=1, persistent_workers=True),
        dict(batch_sampler=dict(type=BatchSampler, drop_last=False), num_workers=1),
        dict(batch_sampler=dict(type='PairSampler'), sampler=FINITE, num_workers=1),
        dict(sampler=FINITE, drop_last=True, batch_size=5),
        dict(sampler=dict(type='ClassAwareSampler', _delete_=True)),
        dict(sampler=dict(type=GlobalSampler, _delete_=True), num_workers=1),
        dict(
            sampler=dict(
                type='MultiSourceSampler', batch_size=2, source_ratio=[1, 1], _delete_=True
            ),
            **TWO_SETS,
        ),
        dict(
            sampler=dict(
                type='GroupMultiSourceSampler', batch_size=2, source_ratio=[1, 1], _delete_=True
            ),
            **TWO_SETS,
        ),
        dict(
            sampler=dict(type='MultiDataSampler', dataset_ratio=[1, 2], _delete_=True),
            batch_sampler=dict(type='MultiDataAspectRatioBatchSampler', num_datasets=2),
            batch_size=[2, 3],
            **TWO_SETS,
        ),
    ],
    ids=lambda options: '-'.join(
        str(value.get('type', '')) if isinstance(value, dict) else f'{key}{value}'
        for key, value in options.items()
    ),
)
def test_a_resumed_run_has_the_images_and_losses_of_the_unbroken_one(tmp_path, options):
    unbroken, resumed = (train(tmp_path, **loader(**options))[1] for _ in range(2))
    assert len(unbroken) == 10 and resumed == unbroken[6:]
    assert len({str(images) for images, _ in unbroken}) > 2


def test_the_order_does_not_depend_on_what_training_draws(tmp_path):
    sampler = dict(type=GlobalSampler, _delete_=True)
    orders = []
    for rate in (0.0, 0.5):
        runner = toy_runner(tmp_path / str(rate), train_dataloader__sampler=sampler)
        runner.model.dropout.p = rate
        hook = Losses()
        runner.register_hook(hook)
        runner.train()
        orders.append([images for images, _ in hook.values])
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    'changed',
    [dict(batch_size=3), dict(sampler=dict(type=ForgetfulSampler, _delete_=True))],
    ids=['batch', 'sampler'],
)
def test_an_order_that_is_not_repeated_is_told(tmp_path, changed):
    options = changed if 'sampler' in changed else {}
    train(tmp_path, **loader(**options))
    _, values = train(tmp_path, **loader(**changed))
    log = next((tmp_path / 'resumed').glob('*/*.log')).read_text()
    assert 'Up to iteration 6 the images came in another order' in log
    assert len(values) == 4


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(sampler=FINITE, batch_size=20, drop_last=True), 'leaves nothing of the 12 images'),
        (
            dict(
                sampler=FINITE,
                batch_size=4,
                batch_sampler=dict(type=BY_RATIO['type'], drop_last=True),
                dataset=dict(length=3),
            ),
            'leaves nothing of the 3 images',
        ),
        (dict(batch_size=None), 'train_dataloader.batch_size is None'),
        (dict(dataset=dict(length=0)), r'train_dataloader.dataset \(ToyDataset\) has no image'),
        (dict(num_batch_per_epoch=0), 'has no image.*num_batch_per_epoch'),
        (dict(prefetch_factor=0, num_workers=1), 'train_dataloader.prefetch_factor is 0'),
        (
            dict(batch_sampler=dict(type='TrackAspectRatioBatchSampler')),
            "TrackAspectRatioBatchSampler asks for .*'images'",
        ),
    ],
)
def test_a_data_loader_without_batches_is_refused(tmp_path, options, words):
    loops = 'PanopticIterBasedTrainLoop', 'IterBasedTrainLoop'
    for kind in loops if 'sampler' in options else loops[:1]:
        with pytest.raises(UserError, match=words):
            train(tmp_path, train_cfg__type=kind, **loader(**options))


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(dataset=dict(length=0)), 'has no image'),
        (dict(batch_size=None), 'batch_size is None'),
        (dict(sampler=dict(type='InfiniteSampler')), 'InfiniteSampler never ends the evaluation'),
        (dict(batch_size=2, drop_last=True), 'drop_last=True leaves images out'),
        (
            dict(batch_size=2, batch_sampler=dict(type=BatchSampler, drop_last=True)),
            'drop_last=True leaves images out',
        ),
    ],
)
def test_an_evaluation_of_all_images_comes_to_an_end(tmp_path, options, words):
    for split, call in (('val', 'train'), ('test', 'test')):
        settings = {f'{split}_dataloader__{key}': value for key, value in options.items()}
        with pytest.raises(UserError, match=f'{split}_dataloader.*{words}'):
            getattr(toy_runner(tmp_path, **settings), call)()


def test_data_loaders_that_were_built_in_python_are_checked(tmp_path):
    for split, call in (('val', 'train'), ('test', 'test'), ('train', 'train')):
        runner = toy_runner(tmp_path)
        given = dict(batch_size=None) if split == 'train' else dict(batch_size=5, drop_last=True)
        setattr(runner, f'_{split}_dataloader', DataLoader(ToyDataset(), **given))
        words = 'batch_size is None' if split == 'train' else 'drop_last=True leaves images out'
        with pytest.raises(UserError, match=f'{split}_dataloader.{words}'):
            getattr(runner, call)()


def test_a_script_may_build_a_data_loader_of_its_own(tmp_path):
    runner = toy_runner(tmp_path)
    config = dict(runner.cfg.train_dataloader, sampler=dict(type='InfiniteSampler'))
    assert len(next(iter(runner.build_dataloader(config, seed=1)))) > 0


class Numbers(IterableDataset):
    metainfo = ToyDataset.metainfo

    def __iter__(self):
        return map(ToyDataset().__getitem__, range(12))

    def __len__(self) -> int:
        return 12


NUMBERS = dict(dataset=Numbers(), batch_size=2)
BATCHES = dict(dataset=ToyDataset(), batch_sampler=[[0, 1], [2, 3]])


@pytest.mark.parametrize(
    'given, kind, words',
    [
        (NUMBERS, 'PanopticIterBasedTrainLoop', r'\(Numbers\) gives no image by its index'),
        (NUMBERS, 'IterBasedTrainLoop', None),
        (BATCHES, 'PanopticIterBasedTrainLoop', None),
        (BATCHES, 'IterBasedTrainLoop', "no attribute 'sampler'.*PanopticIterBasedTrainLoop"),
    ],
)
def test_what_only_one_of_the_loops_can_read(tmp_path, given, kind, words):
    options = dict(val_dataloader=None, val_cfg=None, val_evaluator=None, param_scheduler=None)
    runner = toy_runner(tmp_path, train_cfg__type=kind, train_cfg__max_iters=4, **options)
    runner._train_dataloader = DataLoader(**given, collate_fn=pseudo_collate)
    with pytest.raises(UserError, match=words) if words else nullcontext():
        runner.train()


def test_a_process_without_images_may_evaluate_but_not_train(monkeypatch):
    monkeypatch.setattr(loader_check, 'all_gather_object', lambda number: [1, number])
    empty = DataLoader(ToyDataset(), batch_size=2, sampler=[])
    loader_check.check_loader(empty, 'val_dataloader')
    with pytest.raises(UserError, match='12 images in 2 processes; .* or fewer processes'):
        loader_check.check_loader(empty, 'train_dataloader')


def test_a_larger_batch_than_the_data_set_is_filled_from_several_passes(tmp_path):
    _, values = train(tmp_path, **loader(batch_size=20, drop_last=True))
    assert len(values) == 10 and all(len(images) == 20 for images, _ in values)


def test_keys_of_loading_processes_do_not_stop_a_run_without_them(tmp_path):
    """One sets num_workers=0 to find a fault, and leaves the rest of the config as it is."""
    options = dict(num_workers=0, persistent_workers=True, prefetch_factor=4)
    _, values = train(tmp_path, **loader(**options))
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert len(values) == 10
    assert 'num_workers is 0, so persistent_workers and prefetch_factor has no effect' in log


def test_the_learning_rate_is_scaled_by_the_batch_of_a_batch_sampler(tmp_path):
    scale = dict(auto_scale_lr=dict(enable=True, base_batch_size=8))
    runner = toy_runner(tmp_path, train_dataloader__batch_sampler=BY_RATIO, **scale)
    runner.train()
    assert runner.optim_wrapper.param_groups[0]['initial_lr'] == pytest.approx(1e-2 * 2 / 8)
    assert 'Effective batch size 2' in next(tmp_path.glob('*/*.log')).read_text()
    two_sizes = loader(
        sampler=dict(type='MultiDataSampler', dataset_ratio=[1, 2], _delete_=True),
        batch_sampler=dict(type='MultiDataAspectRatioBatchSampler', num_datasets=2),
        batch_size=[2, 3],
        **TWO_SETS,
    )
    with pytest.raises(UserError, match=r'train_dataloader.batch_size is \[2, 3\]'):
        toy_runner(tmp_path / 'two', **two_sizes, **scale).train()


def _train_twice(folder: Path) -> list:
    common = dict(launcher='pytorch', model__norm='LayerNorm', randomness__diff_rank_seed=True)
    return [train(folder, **common, train_dataloader__batch_sampler=BY_RATIO)[1] for _ in range(2)]


def test_two_processes_resume_exactly(tmp_path):
    """With a batch sampler, and noise and dropout that each process draws for itself."""
    runs = in_processes(2, _train_twice, tmp_path)
    assert all(len(unbroken) == 10 and resumed == unbroken[6:] for unbroken, resumed in runs)
    assert runs[0] != runs[1]
