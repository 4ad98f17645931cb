"""Random numbers follow from seed, iteration and image; half an accumulation and the EMA stay."""

from pathlib import Path

import pytest
import torch
from cmt_deeplab.engine.loop.batch_stream import BatchStream
from mmdet.registry import DATA_SAMPLERS, DATASETS, METRICS
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler, RepeatDataset, pseudo_collate
from mmengine.hooks import Hook
from processes import in_processes
from torch.utils.data import ConcatDataset, DataLoader
from toy import ToyMetric
from toy_run import toy_runner

REPOSITORY = Path(__file__).resolve().parents[2]
WITHOUT_VALIDATION = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
EACH = dict(default_hooks__checkpoint__interval=1, train_cfg__val_interval=3)
EMA = dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=3, momentum=0.1, begin_iter=2)


class Record(Hook):
    """The images and the loss of each iteration, and the iterations that were validated."""

    def __init__(self):
        self.losses, self.validated = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append((data_batch['index'], outputs['loss'].item()))

    def after_val_epoch(self, runner, metrics=None):
        self.validated.append(runner.iter)


def train(folder, start=None, **options):
    """The record of a run, all numbers of its last checkpoint, and what it logged."""
    if start is not None:
        options |= dict(resume=True, load_from=str(start))
        torch.manual_seed(99)
    runner, record = toy_runner(folder, **{**EACH, **options}), Record()
    runner.register_hook(record)
    runner.train()
    log = sorted(folder.glob('*/*.log'))[-1].read_text()
    return record, numbers_of(torch.load(folder / 'iter_8.pth', weights_only=True)), log


def numbers_of(checkpoint: dict) -> list:
    parts = [checkpoint['state_dict'], checkpoint.get('ema_state_dict', {})]
    parts += checkpoint['optimizer']['state'].values()
    return [torch.as_tensor(value).tolist() for part in parts for value in part.values()]


@pytest.mark.parametrize(
    'accumulated, at, options',
    [
        (1, 3, {}),
        (2, 5, dict(custom_hooks=[EMA])),
        (3, 4, dict(custom_hooks=[EMA], optim_wrapper__clip_grad=dict(max_norm=0.5))),
        (3, 7, dict(optim_wrapper__type='PanopticAmpOptimWrapper')),
    ],
)
def test_loading_processes_and_half_an_accumulation_change_nothing(
    tmp_path, accumulated, at, options
):
    """The last update of three accumulated iterations is one of the two that are left of eight."""
    options = dict(options, optim_wrapper__accumulative_counts=accumulated)
    whole, numbers, _ = train(tmp_path / 'whole', **options)
    loading = dict(num_workers=2, persistent_workers=True, prefetch_factor=3)
    loading = {f'train_dataloader__{key}': value for key, value in loading.items()}
    start = tmp_path / 'whole' / f'iter_{at}.pth'
    resumed, same, log = train(tmp_path / 'resumed', start, **options, **loading)
    assert resumed.losses == whole.losses[at:] and same == numbers
    assert 'gradient of some iterations is lost' not in log


def test_gradients_are_left_out_where_another_number_is_accumulated(tmp_path):
    options = dict(optim_wrapper__accumulative_counts=2, **WITHOUT_VALIDATION)
    train(tmp_path / 'whole', **options)
    options['optim_wrapper__accumulative_counts'] = 5
    log = train(tmp_path / 'other', tmp_path / 'whole' / 'iter_5.pth', **options)[2]
    assert 'the gradients of its last 1 iterations are left out' in log


def test_gradients_of_a_run_that_was_to_end_sooner_count_less(tmp_path):
    """Iteration 7 of 8 is one of two that are left, and of 9 it is one of three."""
    options = dict(optim_wrapper__accumulative_counts=3, **WITHOUT_VALIDATION)
    longer = dict(options, train_cfg__max_iters=9, param_scheduler=None)
    whole = train(tmp_path / 'whole', **longer)[0]
    train(tmp_path / 'short', **options, param_scheduler=None)
    resumed = train(tmp_path / 'more', tmp_path / 'short' / 'iter_7.pth', **longer)[0]
    assert resumed.losses == whole.losses[7:]
    last = [torch.load(tmp_path / name / 'iter_9.pth') for name in ('whole', 'more')]
    torch.testing.assert_close(*map(numbers_of, last), rtol=1e-5, atol=1e-6)  # one is rounded twice


def _in_two(folder: Path, accumulated: int) -> tuple:
    options = dict(
        launcher='pytorch',
        model__norm='LayerNorm',
        optim_wrapper__accumulative_counts=accumulated,
        randomness__diff_rank_seed=accumulated > 1,
    )
    whole, numbers, _ = train(folder / 'whole', **options)
    resumed, same, _ = train(folder / 'resumed', folder / 'whole' / 'iter_4.pth', **options)
    assert resumed.losses == whole.losses[4:] and same == numbers
    return whole.losses


@pytest.mark.parametrize('accumulated', [1, 3])
def test_each_process_keeps_its_gradients(tmp_path, accumulated):
    losses = in_processes(2, _in_two, tmp_path, accumulated)
    assert losses[0] != losses[1]


def test_another_number_of_processes_takes_the_same_images_and_augmentation(tmp_path):
    """Without dropout one process goes on as two would have."""
    still = dict(_delete_=True, type='ToyModel', norm='LayerNorm', dropout=0.0)
    options = dict(model=still, optim_wrapper__accumulative_counts=3, **WITHOUT_VALIDATION)
    two = in_processes(2, _losses, tmp_path / 'two', dict(options, launcher='pytorch'))
    start, alone = tmp_path / 'two' / 'iter_4.pth', dict(train_dataloader__batch_size=4)
    one, _, log = train(tmp_path / 'one', start, **options, **alone)
    for number, (images, loss) in enumerate(one.losses):
        parts = [losses[4 + number] for losses in two]
        assert sorted(images) == sorted(parts[0][0] + parts[1][0])
        assert loss == pytest.approx(sum(part[1] for part in parts) / 2, rel=1e-5)
    assert 'is of another number of processes than the 1 of this run' in log
    assert 'another order' not in log


def _losses(folder: Path, options: dict) -> list:
    return train(folder, **options)[0].losses


def test_early_stopping_goes_on_counting(tmp_path):
    stop = dict(type='EarlyStoppingHook', monitor='toy/count', rule='greater', patience=4)
    options = dict(EACH, custom_hooks=[stop], train_cfg__val_interval=1)
    iterations = []
    for start in None, 3:
        if start:
            options |= dict(resume=True, load_from=str(tmp_path / 'None' / f'iter_{start}.pth'))
        runner = toy_runner(tmp_path / str(start), **options)
        runner.train()
        iterations.append(runner.iter)
    assert iterations == [5, 5]


@DATA_SAMPLERS.register_module()
class OwnSampler(InfiniteSampler):
    """Its ``seed`` is none that a checkpoint could hold."""

    def __init__(self, dataset, seed=None):
        super().__init__(dataset, seed=1)
        self.seed = torch.Generator()

    def _infinite_indices(self):
        while True:
            yield from torch.randperm(self.size).tolist()


@METRICS.register_module()
class TensorMetric(ToyMetric):
    """Its figures are tensors."""

    def compute_metrics(self, results):
        return {k: torch.tensor(v) for k, v in super().compute_metrics(results).items()}


@pytest.mark.parametrize(
    'options',
    [
        dict(train_dataloader__sampler=dict(_delete_=True, type='OwnSampler')),
        dict(
            val_evaluator=dict(type='TensorMetric'),
            default_hooks__checkpoint=dict(interval=1, save_best='toy/mean', rule='greater'),
        ),
    ],
)
def test_what_parts_of_others_hold_stops_no_resume(tmp_path, options):
    whole, parts, log = train(tmp_path / 'a', **options)
    resumed, same, _ = train(tmp_path / 'b', tmp_path / 'a' / 'iter_4.pth', **options)
    assert resumed.losses == whole.losses[4:] and same == parts and 'be resumed' not in log


def test_a_run_that_was_killed_in_a_validation_begins_with_it(tmp_path):
    """The checkpoint is older than the validation of its iteration, and so is its best figure."""
    options = dict(default_hooks__checkpoint__save_best='toy/mean')
    options['default_hooks__checkpoint__rule'] = 'less'
    whole = train(tmp_path / 'whole', **options)[0]
    assert whole.validated == [3, 6, 8]
    for at, validated in ((5, [6, 8]), (6, [6, 8]), (8, [8])):
        start = tmp_path / 'whole' / f'iter_{at}.pth'
        folder = tmp_path / str(at)
        runner, record = toy_runner(folder, resume=True, load_from=str(start), **EACH), Record()
        runner.register_hook(record)
        runner.train()
        assert record.validated == validated
        assert record.losses == whole.losses[at:]


@pytest.fixture(scope='module')
def pasting(shapes_root):
    """Scenes whose augmentation reads a second image, in two wrappers."""
    base = REPOSITORY / 'configs/_base_/datasets/coco_panoptic_index.py'
    scenes = DATASETS.build(
        dict(
            type='ShapesPanopticDataset',
            data_root=str(shapes_root),
            ann_file='annotations/panoptic_train2017.json',
            data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
            image_size=(65, 65),
            pipeline=Config.fromfile(str(base)).copy_paste_pipeline,
        )
    )
    return ConcatDataset([scenes, RepeatDataset(scenes, times=2)])


def test_the_augmentation_follows_from_seed_iteration_and_image(pasting):
    def images(*, at=0, workers=0, seed=5):
        loader = DataLoader(
            pasting,
            batch_size=3,
            sampler=InfiniteSampler(pasting, seed=1),
            num_workers=workers,
            collate_fn=pseudo_collate,
        )
        stream = BatchStream(loader)
        stream.begin(at=at, seed=seed)
        torch.manual_seed(at + workers)
        batches = iter(loader)
        return [next(batches)['inputs'] for _ in range(3)]

    first = images()
    for again in (images(workers=1), images(workers=2), [*first[:2], *images(at=2)[:1]]):
        assert all(torch.equal(one, two) for a, b in zip(first, again) for one, two in zip(a, b))
    other = images(seed=6)
    assert not any(torch.equal(one, two) for one, two in zip(first[0], other[0]))


def test_an_image_that_comes_twice_is_augmented_twice(tmp_path):
    drawn = []

    class Keep(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            drawn.extend(tuple(vector.tolist()) for vector in data_batch['inputs'])

    options = dict(train_dataloader__dataset__length=1, train_dataloader__batch_size=4)
    runner = toy_runner(tmp_path, **options, **WITHOUT_VALIDATION)
    runner.register_hook(Keep())
    runner.train()
    assert len(set(drawn)) == len(drawn) == 32
