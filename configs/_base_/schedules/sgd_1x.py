"""The 1x schedule of mmdet's two-stage models: SGD 0.02, batch 16, 500 iterations of warm-up, 12 epochs of 118,287 images in iterations."""

max_iters = 88715
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=max_iters,
        milestones=[59143, 81322],
        gamma=0.1,
    ),
]
train_cfg = dict(type='PanopticIterBasedTrainLoop', max_iters=max_iters, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
