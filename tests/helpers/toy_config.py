_base_ = ['../../configs/_base_/default_runtime.py']
custom_imports = dict(imports=['cmt_deeplab', 'toy'], allow_failed_imports=False)
model = dict(type='ToyModel')
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='ToyDataset'),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='ToyDataset', length=5, noise=0.0),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ToyMetric')
test_evaluator = val_evaluator
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-2, weight_decay=0.05),
    constructor='PanopticOptimWrapperConstructor',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=8),
]
train_cfg = dict(type='PanopticIterBasedTrainLoop', max_iters=8, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    checkpoint=dict(interval=2, max_keep_ckpts=8, save_best=None), logger=dict(interval=1)
)
randomness = dict(seed=1)
auto_scale_lr = dict(enable=False, base_batch_size=8)
