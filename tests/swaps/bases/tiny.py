"""The tiny CMT-DeepLab for two iterations: every mask is pasted, so that a prediction is not void.

The learning rate is at its full height at once, so that two iterations change the weights.
"""

_base_ = '../../../configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, **in_process)
val_dataloader = dict(batch_size=2, **in_process)
test_dataloader = val_dataloader
param_scheduler = [dict(type='PanopticWarmupPolyLR', warmup=0, by_epoch=False)]
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=1))
randomness = dict(seed=0)
model = dict(
    postprocess=dict(
        pixel_threshold=0.06,
        thing_threshold=0.0,
        stuff_threshold=0.0,
        overlap_threshold=0.0,
        thing_area=0,
        stuff_area=0,
    )
)
