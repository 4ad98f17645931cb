"""kMaX-DeepLab's recipe (deeplab2 code): AdamW 5e-4, decay 0.05 on kernels, backbone x0.1, 5k warm-up times poly 0.9 over 150k, batch 64.

With fewer images a step: `--auto-scale-lr`, or `--cfg-options optim_wrapper.accumulative_counts=N` (N iterations an optimizer step;
max_iters counts iterations). Mixed precision: `--amp`; bfloat16 on a GPU: `--amp --cfg-options optim_wrapper.dtype=bfloat16`.
"""

max_iters = 150000
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    constructor='PanopticOptimWrapperConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [  # the two are multiplied
    dict(type='LinearLR', start_factor=1 / 5000, by_epoch=False, begin=0, end=5000),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(type='PanopticIterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=64)
