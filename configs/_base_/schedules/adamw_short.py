"""Training from scratch on a CPU, in minutes: AdamW at 2e-3 on every part of the model.

The warm-up takes 100 iterations, then the rate falls polynomially, with power 0.9, to 0 at the end
of ``train_cfg.max_iters``.
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    constructor='PanopticOptimWrapperConstructor',
)
param_scheduler = [dict(type='PanopticWarmupPolyLR', warmup=100, start_factor=0.01, by_epoch=False)]
train_cfg = dict(type='PanopticIterBasedTrainLoop', max_iters=3000, val_interval=500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=8)
