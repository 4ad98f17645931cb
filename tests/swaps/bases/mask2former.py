"""The tiny Mask2Former with mmdet's own ResNet, for two iterations, as tiny.py.

Every mask is pasted, so that a prediction is not void.
"""

_base_ = '../../../configs/peers/mask2former_tiny_shapes.py'
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, **in_process)
val_dataloader = dict(batch_size=2, **in_process)
test_dataloader = val_dataloader
param_scheduler = [dict(type='PanopticWarmupPolyLR', warmup=0, by_epoch=False)]
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=1))
randomness = dict(seed=0)
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        base_channels=32,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        zero_init_residual=False,
    ),
    test_cfg=dict(object_mask_thr=0.0, iou_thr=0.0, filter_low_score=False),
)
