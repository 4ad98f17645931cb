"""Loops, optimizers, schedules, hooks, visualizers and new-style configs."""

from functools import partial
from pathlib import Path

import torch

from ..row import Row, says
from .backbones_of_mmdet import backbone

loop = partial(Row, 'Loops')
optimizer = partial(Row, 'Optimizers')
schedule = partial(Row, 'Schedules')
hook = partial(Row, 'Hooks')
other = partial(Row, 'Runners, visualizers and class types')


def optim(text: str) -> str:
    return f'\noptim_wrapper = dict({text})\n'


def steps(number: int):
    """The optimizer took so many steps."""

    @says(f'{number} optimizer steps')
    def check(seen, base) -> str | None:
        return None if seen.steps == number else f'{seen.steps} optimizer steps, not {number}'

    return check


def rates(low: float, high: float):
    """The ratio of the second learning rate to the first lies between the two."""

    @says(f'the second learning rate is {low} to {high} times the first')
    def check(seen, base) -> str | None:
        ratio = seen.rates[1][0] / seen.rates[0][0]
        return None if low <= ratio <= high else f'the learning rates are {seen.rates}'

    return check


@says('more than two learning rates')
def different_rates(seen, base) -> str | None:
    found = {round(rate, 9) for rate in seen.rates[0]}
    return None if len(found) > 2 else f'the learning rates are {sorted(found)}'


@says('the checkpoint has averaged weights, which differ from the trained ones')
def averaged(seen, base) -> str | None:
    checkpoint = torch.load(f'{seen.runner.work_dir}/iter_2.pth', weights_only=True)
    if 'ema_state_dict' not in checkpoint:
        return 'the checkpoint has no averaged weights'
    trained, ema = checkpoint['state_dict'], checkpoint['ema_state_dict']
    name = next(name for name in trained if name.endswith('centers'))
    same = torch.equal(trained[name], ema[f'module.{name}'])
    return 'the averaged weights are the trained ones' if same else None


@says('losses equal to those of the base')
def equal_losses(seen, base) -> str | None:
    return None if seen.losses == base['losses'] else f'the losses are {seen.losses}'


def wrote(pattern: str):
    """The work dir has a file like this."""

    @says(f'the work dir has {pattern}')
    def check(seen, base) -> str | None:
        found = list(Path(seen.runner.work_dir).rglob(pattern))
        return None if found else f'there is no {pattern} in the work dir'

    return check


def scheduler(text: str) -> str:
    return f'\nparam_scheduler = [{text}]\n'


def custom(text: str) -> str:
    return f'\ncustom_hooks = [dict({text})]\n'


EPOCHS = """
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
train_dataloader = dict(sampler=dict(type='DefaultSampler', shuffle=True))
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[1])]
log_processor = dict(by_epoch=True)
"""
SWIN = backbone(
    "type='SwinTransformer', embed_dims=24, depths=(2, 2, 2), num_heads=(2, 4, 8),\n"
    '    strides=(4, 2, 2), out_indices=(0, 1, 2)'
)
DECAY = "paramwise_cfg=dict(decay_rate=0.7, decay_type='layer_wise')"
ROWS = [
    loop('EpochBasedTrainLoop', EPOCHS),
    loop(
        'IterBasedTrainLoop',
        """
train_cfg = dict(type='IterBasedTrainLoop')
""",
        changes='nothing',
    ),
    loop(
        'dynamic_intervals',
        """
train_cfg = dict(max_iters=3, val_interval=3, dynamic_intervals=[(2, 1)])
""",
    ),
    loop(
        'EpochBasedTrainLoop with a schedule by iteration',
        EPOCHS.replace(
            "dict(type='MultiStepLR', by_epoch=True, milestones=[1])",
            "dict(type='PanopticWarmupPolyLR', warmup=1, by_epoch=False)",
        ),
    ),
    loop(
        'a key of the other loop',
        """
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
""",
        refused='max_iters',
    ),
    loop('ValLoop in half precision', '\nval_cfg = dict(fp16=True)\n', changes=''),
    # optimizers
    *[
        optimizer(kind, optim(f"optimizer=dict(_delete_=True, type='{kind}', lr=1e-3{more})"))
        for kind, more in (
            ('SGD', ', momentum=0.9, weight_decay=1e-4'),
            ('Adam', ''),
            ('NAdam', ''),
            ('RAdam', ''),
            ('Adamax', ''),
            ('Adagrad', ''),
            ('Adadelta', ''),
            ('ASGD', ''),
            ('RMSprop', ''),
            ('Rprop', ''),
            ('TorchAdafactor', ''),
        )
    ],
    optimizer('SGD, without _delete_', optim("optimizer=dict(type='SGD', momentum=0.9)")),
    optimizer(
        'Adam with a key of SGD',
        optim("optimizer=dict(type='Adam', momentum=0.9)"),
        refused='momentum',
    ),
    optimizer('a name that does not exist', optim("optimizer=dict(type='AdamX')"), refused='AdamX'),
    optimizer(
        'Lion of timm',
        """
from timm.optim import Lion
optim_wrapper = dict(optimizer=dict(_delete_=True, type=Lion, lr=1e-4))
""",
    ),
    optimizer('clip_grad by norm', optim('clip_grad=dict(max_norm=0.01, norm_type=2)')),
    optimizer('clip_grad by value', optim("clip_grad=dict(type='value', clip_value=1e-4)")),
    optimizer(
        'accumulative_counts',
        optim('accumulative_counts=2') + 'train_cfg = dict(max_iters=4, val_interval=4)\n',
        shows=(steps(2),),
    ),
    optimizer('AmpOptimWrapper', optim("type='AmpOptimWrapper'"), refused='AmpOptimWrapper'),
    optimizer('PanopticAmpOptimWrapper', optim("type='PanopticAmpOptimWrapper'")),
    optimizer('--amp', '', arguments=('--amp',)),
    optimizer(
        'float16 on a CPU',
        optim("type='PanopticAmpOptimWrapper', dtype='float16'"),
        refused='float16',
    ),
    optimizer('--auto-scale-lr', '', arguments=('--auto-scale-lr',)),
    optimizer(
        'DefaultOptimWrapperConstructor with factors',
        """
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1, decay_mult=1.0),
                                    'centers': dict(decay_mult=0.0)}, norm_decay_mult=0.0))
""",
    ),
    optimizer(
        'a factor of one part',
        optim("paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)})"),
    ),
    optimizer(
        'norm_decay_mult', optim('paramwise_cfg=dict(norm_decay_mult=0.0)'), refused='norm_decay'
    ),
    optimizer('layer-wise decay, Swin', SWIN + optim(DECAY), shows=(different_rates,)),
    optimizer('layer-wise decay, PanopticResNet', optim(DECAY), shows=(different_rates,)),
    optimizer(
        'stage-wise decay, Swin',
        SWIN + optim(DECAY.replace('layer_wise', 'stage_wise')),
        shows=(different_rates,),
    ),
    optimizer(
        'layer-wise decay, ConvNeXt of timm',
        backbone("type='TimmBackbone', model_name='convnext_atto', out_indices=(0, 1, 2)")
        + optim(DECAY),
        shows=(different_rates,),
    ),
    optimizer(
        'LearningRateDecayOptimizerConstructor, Swin',
        SWIN
        + optim(
            "constructor='LearningRateDecayOptimizerConstructor',\n"
            "    paramwise_cfg=dict(decay_rate=0.7, decay_type='layer_wise', num_layers=6)"
        ),
        refused='LearningRateDecayOptimizerConstructor',
    ),
    # schedules
    schedule(
        'LinearLR and MultiStepLR',
        scheduler("""
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=2),
    dict(type='MultiStepLR', by_epoch=False, milestones=[1], gamma=0.1)"""),
        shows=(rates(2, 1000),),
    ),
    schedule(
        'CosineAnnealingLR',
        scheduler("dict(type='CosineAnnealingLR', T_max=2, by_epoch=False)"),
        shows=(rates(0.4, 0.6),),
    ),
    schedule(
        'CosineAnnealingLR of 100 iterations',
        scheduler("dict(type='CosineAnnealingLR', T_max=100, by_epoch=False)"),
    ),
    schedule(
        'PolyLR',
        scheduler("dict(type='PolyLR', power=2.0, eta_min=0.0, begin=0, end=3, by_epoch=False)"),
        shows=(rates(0.2, 0.3),),
    ),
    schedule(
        'StepLR',
        scheduler("dict(type='StepLR', step_size=1, gamma=0.1, by_epoch=False)"),
        shows=(rates(0.09, 0.11),),
    ),
    schedule(
        'ExponentialLR',
        scheduler("dict(type='ExponentialLR', gamma=0.5, by_epoch=False)"),
        shows=(rates(0.49, 0.51),),
    ),
    schedule(
        'ConstantLR',
        scheduler("dict(type='ConstantLR', factor=0.1, begin=0, end=1, by_epoch=False)"),
    ),
    schedule(
        'OneCycleLR',
        scheduler("dict(type='OneCycleLR', eta_max=0.01, total_steps=3, by_epoch=False)"),
    ),
    schedule(
        'CosineRestartLR',
        scheduler("""dict(
    type='CosineRestartLR', periods=[2, 2], restart_weights=[1, 0.5], eta_min=0,
    by_epoch=False)"""),
    ),
    schedule(
        'QuadraticWarmupLR',
        scheduler("dict(type='QuadraticWarmupLR', by_epoch=False, begin=0, end=4)"),
    ),
    schedule(
        'ReduceOnPlateauLR',
        scheduler("""dict(
    type='ReduceOnPlateauLR', monitor='coco_panoptic/PQ', rule='greater', by_epoch=False)"""),
        refused='ReduceOnPlateauLR',
    ),
    schedule(
        'PolyMomentum',
        optim("optimizer=dict(type='SGD', lr=1e-3, momentum=0.9)")
        + scheduler("dict(type='PolyMomentum', power=0.9, end=2, by_epoch=False)"),
    ),
    schedule(
        'by epoch under the loop by iteration',
        scheduler("dict(type='MultiStepLR', by_epoch=True, milestones=[1])"),
        refused='by_epoch',
    ),
    schedule(
        'by_epoch left out',
        scheduler("dict(type='MultiStepLR', milestones=[1])"),
        refused='by_epoch',
    ),
    schedule(
        'by epoch, converted to iterations',
        scheduler("""dict(
    type='CosineAnnealingLR', T_max=2, end=2, by_epoch=True, convert_to_iter_based=True)"""),
    ),
    schedule('none', '\nparam_scheduler = None\n', shows=(rates(1, 1),)),
    # hooks
    hook('EMAHook', custom("type='EMAHook', momentum=0.1"), shows=(averaged,), changes='nothing'),
    hook(
        'EMAHook with ExpMomentumEMA',
        custom("type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True"),
        shows=(averaged,),
        changes='nothing',
    ),
    hook(
        'EarlyStoppingHook',
        custom("type='EarlyStoppingHook', monitor='coco_panoptic/PQ', rule='greater', patience=1"),
        changes='nothing',
    ),
    hook(
        'EarlyStoppingHook without a rule',
        custom("type='EarlyStoppingHook', monitor='coco_panoptic/PQ'"),
        changes='nothing',
    ),
    hook(
        'CheckInvalidLossHook', custom("type='CheckInvalidLossHook', interval=1"), changes='nothing'
    ),
    hook('NumClassCheckHook', custom("type='NumClassCheckHook'"), changes='nothing'),
    hook('EmptyCacheHook', custom("type='EmptyCacheHook', after_iter=True"), changes='nothing'),
    hook('SyncBuffersHook', custom("type='SyncBuffersHook'"), refused='SyncBuffersHook'),
    hook('SyncNormHook', custom("type='SyncNormHook'"), changes='nothing'),
    hook('SetEpochInfoHook', custom("type='SetEpochInfoHook'"), refused='SetEpochInfoHook'),
    hook('MemoryProfilerHook', custom("type='MemoryProfilerHook'"), refused='MemoryProfilerHook'),
    hook(
        'ProfilerHook',
        custom("type='ProfilerHook', profile_times=1, by_epoch=False"),
        changes='nothing',
    ),
    hook(
        'PipelineSwitchHook',
        """
custom_hooks = [dict(
    type='PipelineSwitchHook', switch_epoch=1,
    switch_pipeline=[*_base_.load, _base_.pack])]
""",
        refused='PipelineSwitchHook',
    ),
    hook(
        'YOLOXModeSwitchHook', custom("type='YOLOXModeSwitchHook'"), refused='YOLOXModeSwitchHook'
    ),
    hook(
        'CheckpointHook with save_best',
        """
default_hooks = dict(checkpoint=dict(save_best='coco_panoptic/PQ', rule='greater'))
""",
        changes='nothing',
        shows=(wrote('best_*.pth'),),
    ),
    hook(
        'CheckpointHook with save_best=auto',
        """
default_hooks = dict(checkpoint=dict(save_best='auto'))
""",
        changes='nothing',
        shows=(wrote('best_*.pth'),),
    ),
    hook(
        'CheckpointHook by epoch',
        """
default_hooks = dict(checkpoint=dict(by_epoch=True, interval=1))
""",
        refused='by_epoch',
    ),
    hook(
        "mmengine's LoggerHook",
        """
default_hooks = dict(logger=dict(type='LoggerHook'))
""",
        changes='nothing',
    ),
    hook(
        'DetVisualizationHook that draws',
        """
default_hooks = dict(visualization=dict(
    type='DetVisualizationHook', draw=True, interval=1, score_thr=0.0))
""",
        changes='nothing',
        shows=(wrote('vis_image/*.png'),),
    ),
    hook('a hook left out', '\ndefault_hooks = dict(batch_size=None)\n', changes='nothing'),
    hook('a name that does not exist', custom("type='EMAHok'"), refused='EMAHok'),
    # the rest
    other(
        'TensorboardVisBackend',
        """
visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
""",
        changes='nothing',
        shows=(wrote('events.out.tfevents*'),),
    ),
    other(
        'WandbVisBackend, not installed',
        """
visualizer = dict(vis_backends=[dict(type='WandbVisBackend')])
""",
        refused='wandb',
    ),
    other(
        'DetLocalVisualizer',
        """
visualizer = dict(type='DetLocalVisualizer')
""",
        changes='nothing',
    ),
    other("mmengine's Runner", "\nrunner_type = 'Runner'\n", changes='nothing'),
    other('FlexibleRunner', "\nrunner_type = 'FlexibleRunner'\n", changes='nothing'),
    other('find_unused_parameters', '\nfind_unused_parameters = True\n', changes='nothing'),
    other('sync_bn, in one process', "\nsync_bn = 'torch'\n", changes='nothing'),
    other(
        'activation_checkpointing',
        "\nactivation_checkpointing = ['backbone']\n",
        changes='',
        shows=(equal_losses,),
    ),
    other('a seed and deterministic', '\nrandomness = dict(seed=3, deterministic=True)\n'),
    other(
        'load_from a file that does not exist',
        "\nload_from = 'data/absent.pth'\n",
        refused='data/absent.pth',
    ),
    other(
        'an import that does not exist',
        """
custom_imports = dict(imports=['cmt_deeplab', 'my_parts'], allow_failed_imports=False)
""",
        refused='my_parts',
    ),
    other(
        'class types in a text config',
        """
from cmt_deeplab.models.backbones import PanopticResNet
from cmt_deeplab.models.blocks.norm import PanopticSyncBN
from cmt_deeplab.models.detectors import CMTDeepLab
model = dict(
    type=CMTDeepLab,
    backbone=dict(type=PanopticResNet, norm_cfg=dict(type=PanopticSyncBN)),
    panoptic_head=dict(norm_cfg=dict(type=PanopticSyncBN)))
""",
        changes='nothing',
    ),
    other(
        'a new-style config',
        """
from mmengine.config import read_base

with read_base():
    from cmt_deeplab.configs.cmt_deeplab_tiny_shapes import *

from cmt_deeplab.models.backbones import AxialResNet
from cmt_deeplab.models.transformer import KMaXLayer

model.merge(dict(
    backbone=dict(
        _delete_=True, type=AxialResNet, num_blocks=(1, 1, 2, 1), width=0.25, drop_path=0.0,
        out_indices=(0, 1, 2)),
    panoptic_head=dict(transformer_decoder=dict(layer=dict(type=KMaXLayer)))))
train_cfg.update(max_iters=2)
""",
        base=None,
    ),
]
