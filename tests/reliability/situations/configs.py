"""Configs that contradict themselves are told before training."""

from pathlib import Path

from trial.place import Place
from trial.situation import OPTIONS, TRAIN, Found, Wrong, section

from .common import must_tell, trains

kind = section(
    'Configs that contradict themselves',
    'A key that nothing reads, a value of another kind, and two keys that contradict each '
    'other are told before training begins.',
)


def piped(split: str, pipeline: str, transform: str) -> str:
    """A leaf whose pipeline has one more transform at the third place."""
    steps = f'_base_.{pipeline}_pipeline'
    steps = f'[*{steps}[:2], dict({transform}), *{steps}[2:]]'
    return f'{split}_dataloader = dict(dataset=dict(pipeline={steps}))\n'


for name, text, told in (
    (
        'optimizer=dict(...) at the top, as in mmdet 2',
        "optimizer = dict(type='SGD', lr=0.02)\n",
        r'\boptimizer\b',
    ),
    (
        'lr_config at the top, as in mmdet 2',
        "lr_config = dict(policy='step', step=[8, 11])\n",
        'lr_config',
    ),
    ('data=dict(...) at the top, as in mmdet 2', 'data = dict(samples_per_gpu=2)\n', r'\bdata\b'),
    ('fp16=dict(...) at the top, as in mmdet 2', 'fp16 = dict(loss_scale=512.)\n', 'fp16'),
    ('resume_from at the top, as in mmdet 2', "resume_from = 'work/iter_2.pth'\n", 'resume_from'),
    ('A misspelled key at the top', 'train_dataloder = dict(batch_size=4)\n', 'train_dataloder'),
    (
        'custom_hook in place of custom_hooks',
        "custom_hook = [dict(type='EMAHook')]\n",
        'custom_hook',
    ),
    (
        'A misspelled key of the data loader',
        'train_dataloader = dict(num_worker=2)\n',
        'num_worker',
    ),
    ('A misspelled key of the loop', 'train_cfg = dict(max_iter=5)\n', 'max_iter'),
    ('A misspelled key of the model', 'model = dict(num_thing_classes=6)\n', 'num_thing_classes'),
    (
        'A misspelled key of a loss',
        'model = dict(criterion=dict(losses=dict(pq=dict(weight=2.0))))\n',
        'weight',
    ),
    (
        'A misspelled key of a hook',
        'default_hooks = dict(checkpoint=dict(intervals=3))\n',
        'intervals',
    ),
    (
        'model.test_cfg, which nothing reads',
        'model = dict(test_cfg=dict(panoptic_on=True))\n',
        'test_cfg',
    ),
    (
        'image_size is larger than the input of the model',
        'train_dataloader = dict(dataset=dict(image_size=(128, 128)))\n',
        'size',
    ),
    (
        'image_size is one number',
        'train_dataloader = dict(dataset=dict(image_size=96))\n',
        'image_size',
    ),
    ('A bool is given as text', "val_evaluator = dict(classwise='no')\n", 'classwise'),
    (
        'A bool of the data loader is given as text',
        "train_dataloader = dict(pin_memory='False')\n",
        'pin_memory',
    ),
    (
        'shuffle is given as text',
        "train_dataloader = dict(sampler=dict(shuffle='False'))\n",
        'shuffle',
    ),
    (
        'The learning rate is given as text',
        "optim_wrapper = dict(optimizer=dict(lr='1e-3'))\n",
        r'\blr\b',
    ),
    ('max_iters is a float', 'train_cfg = dict(max_iters=2.5)\n', 'max_iters'),
    (
        'The class counts are exchanged',
        'model = dict(num_things_classes=5, num_stuff_classes=6)\n',
        'num_things_classes',
    ),
    (
        'paramwise_cfg names a part that the model does not have',
        "optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'encoder': dict(lr_mult=0.1)}))\n",
        'encoder',
    ),
    (
        'frozen_stages is larger than the number of stages',
        'model = dict(backbone=dict(frozen_stages=7))\n',
        'frozen_stages',
    ),
    (
        'A loss weight is negative',
        'model = dict(criterion=dict(losses=dict(pq=dict(loss_weight=-1.0))))\n',
        'loss_weight',
    ),
    (
        'The test pipeline flips images',
        piped('val', 'test', "type='PanopticRandomFlip', prob=0.5"),
        'Flip',
    ),
    (
        'Normalize in the pipeline beside the data preprocessor',
        piped('train', 'train', "type='Normalize', mean=[124, 116, 104], std=[58, 57, 57]"),
        'Normalize',
    ),
    (
        'The image is flipped, its truth is not',
        piped('train', 'train', "type='RandomFlip', prob=1.0"),
        'RandomFlip',
    ),
):

    @kind(name, TRAIN, told=told)
    def config(place: Place, text: str = text) -> Wrong:
        return must_tell(place, text)


@kind('Fewer centers than an image has segments', TRAIN, told='num_cent', word='num_cent')
def few_centers(place: Place) -> Found:
    decoder = f'transformer_decoder=dict({place.centers}=4)'
    return trains(place, f'model = dict(panoptic_head=dict({decoder}))\n')


@kind('The training size is not that of the test', TRAIN, told='size', word='sizes')
def other_size(place: Place) -> Found:
    return trains(place, 'train_dataloader = dict(dataset=dict(image_size=(64, 64)))\n')


for option, told in (
    ('optimizer.lr=0.1', r'optimizer'),
    ('optim_wrapper.optim.lr=0.1', 'optim'),
    ('lr=0.1', r'\blr\b'),
    ('model.backbone.depht=50', 'depht'),
    ('data_root=/elsewhere', 'data_root'),
    ('num_things_classes=3', 'num_things_classes'),
    ('max_iters=10', 'max_iters'),
    ('val_evaluator.classwise=yes', 'classwise'),
    ('train_dataloader.sampler.shuffle=no', 'shuffle'),
    ('resume=yes', 'resume'),
    ('train_cfg=10', 'train_cfg'),
    ('model.num_things_classes=six', 'num_things_classes'),
):

    @kind(f'--cfg-options {option}', OPTIONS, told=told)
    def option_given(place: Place, option: str = option) -> Wrong:
        return must_tell(place, '', '--cfg-options', option)


@kind('--cfg-options without "="', OPTIONS, told='=')
def no_equals(place: Place) -> Wrong:
    return must_tell(place, '', '--cfg-options', 'train_cfg.max_iters')


def config_file(place: Place, text: str) -> Path:
    path = place.folder / 'own.py'
    path.write_text(text)
    return path


for name, text, told in (
    ('The config has a syntax error', "model = dict(type='CMTDeepLab'\n", r'own\.py'),
    ('_base_ names a file that does not exist', "_base_ = './absent.py'\n", r'absent\.py'),
    (
        'The config has no model',
        "train_cfg = dict(type='PanopticIterBasedTrainLoop', max_iters=2)\n",
        'model',
    ),
    (
        'The config imports a package that is not installed',
        'import no_such_package\n',
        'no_such_package',
    ),
    ('The config is empty', '', 'own|model'),
):

    @kind(name, TRAIN, told=told)
    def own(place: Place, text: str = text) -> Wrong:
        return must_tell(place, config_file(place, text))


@kind('The config file does not exist', TRAIN, told=r'absent\.py')
def absent(place: Place) -> Wrong:
    return must_tell(place, place.folder / 'absent.py')


@kind('A folder is given in place of a config', TRAIN, told='empty')
def folder(place: Place) -> Wrong:
    (place.folder / 'empty').mkdir()
    return must_tell(place, place.folder / 'empty')


@kind('The data set lies elsewhere', TRAIN, told='absent')
def elsewhere(place: Place) -> Wrong:
    return must_tell(place, "train_dataloader = dict(dataset=dict(data_root='absent/'))\n")
