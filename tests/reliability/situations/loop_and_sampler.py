"""Loop, sampler and settings are compared before training."""

from trial.place import Place
from trial.situation import OPTIONS, TRAIN, Found, Wrong, section

from .common import must_tell, trains

kind = section(
    'Loop, sampler and settings',
    'The loop, the sampler, the schedulers and the hooks are compared with one another '
    'before training, since mmengine accepts combinations that never end or never act.',
)

EPOCHS = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[1])]
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
log_processor = dict(by_epoch=True)
"""
TO_EPOCHS = 'https://github.com/open-mmlab/mmsegmentation/issues/2908'
FINITE = "train_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=True))\n"


@kind(
    'An iteration config is turned to EpochBasedTrainLoop and keeps InfiniteSampler',
    TRAIN,
    told='[Ss]ampler',
    report=TO_EPOCHS,
)
def infinite(place: Place) -> Wrong:
    return must_tell(place, EPOCHS)


@kind('Training by epochs, with all that belongs to it', TRAIN, report=TO_EPOCHS)
def epochs(place: Place) -> Found:
    text = EPOCHS + FINITE
    values = place.train(text)
    return Found(values.get('epoch', values.get('step')) is not None, True, 'trained:')


@kind(
    'max_epochs is given to the loop that counts iterations',
    TRAIN,
    told='max_epochs',
    report='https://github.com/open-mmlab/mmsegmentation/issues/2777',
)
def max_epochs(place: Place) -> Wrong:
    return must_tell(place, 'train_cfg = dict(max_epochs=3)\n')


@kind('Schedulers count epochs in a training by iterations', TRAIN, told='by_epoch')
def by_epoch(place: Place) -> Wrong:
    return must_tell(
        place, "param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[1])]\n"
    )


@kind(
    'drop_last with fewer images than a batch',
    TRAIN,
    told='drop_last',
    report='https://github.com/open-mmlab/mmsegmentation/issues/2775',
)
def drop_last(place: Place) -> Wrong:
    text = """
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True), drop_last=True)
"""
    return must_tell(place, text, batch=8)


@kind('drop_last with fewer images than a batch, by InfiniteSampler', TRAIN, told='drop_last')
def drop_last_infinite(place: Place) -> Found:
    return trains(place, 'train_dataloader = dict(drop_last=True)\n', batch=8)


@kind('A batch is larger than the data set', TRAIN)
def large_batch(place: Place) -> Found:
    return trains(place, batch=8)


WORKERS = 'https://github.com/open-mmlab/mmsegmentation/issues/2514'


@kind('num_workers=0 by command line', OPTIONS, report=WORKERS, told='persistent_workers')
def no_workers_option(place: Place) -> Found:
    config = place.checkout / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
    options = ['train_cfg.max_iters=2', 'train_dataloader.batch_size=2']
    for loader in ('train', 'val', 'test'):
        options.append(f'{loader}_dataloader.num_workers=0')
    place.train(config, '--cfg-options', *options, 'default_hooks.checkpoint.interval=2')
    present = (place.folder / 'work/iter_2.pth').is_file()
    return Found(present, True, 'checkpoint after 2 iterations:')


@kind('prefetch_factor with num_workers=0', TRAIN, told='prefetch_factor', word='prefetch_factor')
def prefetch(place: Place) -> Found:
    return trains(place, 'train_dataloader = dict(prefetch_factor=2)\n')


@kind("default_hooks.batch_size=None, mmdet's way to switch a hook off", TRAIN)
def hook_off(place: Place) -> Found:
    return trains(place, 'default_hooks = dict(batch_size=None)\n')


@kind('default_hooks.visualization=None', TRAIN)
def drawing_off(place: Place) -> Found:
    return trains(place, 'default_hooks = dict(visualization=None)\n')


@kind('default_hooks.checkpoint=None', TRAIN)
def checkpoint_off(place: Place) -> Found:
    return trains(place, 'default_hooks = dict(checkpoint=None)\n')


for key, value, told in (
    ('train_dataloader.batch_size', '0', 'batch_size'),
    ('train_dataloader.batch_size', '-2', 'batch_size'),
    ('train_dataloader.num_workers', '-1', 'num_workers'),
    ('train_cfg.max_iters', '0', 'max_iters'),
    ('train_cfg.val_interval', '0', 'val_interval'),
    ('default_hooks.logger.interval', '0', 'interval'),
    ('optim_wrapper.accumulative_counts', '0', 'accumulative_counts'),
    ('optim_wrapper.optimizer.lr', '-1', 'lr'),
):

    @kind(f'{key}={value}', OPTIONS, told=told)
    def value_option(place: Place, option: str = f'{key}={value}') -> Wrong:
        return must_tell(place, '', '--cfg-options', option)


@kind('val_interval is larger than max_iters', TRAIN, word='val_interval', told='val_interval')
def never_validated(place: Place) -> Found:
    return trains(place, 'train_cfg = dict(val_interval=100)\n')


@kind('param_scheduler=None, a constant learning rate', TRAIN)
def no_scheduler(place: Place) -> Found:
    return trains(place, 'param_scheduler = None\n')


@kind(
    'seed_per_image, and the run is resumed: its draws are those of an unbroken run',
    'tools/train.py --resume',
)
def seed_per_image(place: Place) -> Found:
    text = 'model = dict(seed_per_image=7)\n'
    config = place.config(
        text + 'default_hooks = dict(checkpoint=dict(interval=2))\n', iterations=4
    )
    whole = place.train(config)['loss']
    weights = place.folder / 'work/iter_2.pth'
    broken = place.train(config, '--resume', weights, work='again')['loss']
    return Found(broken, whole, 'loss of iteration 4', 1e-9)
