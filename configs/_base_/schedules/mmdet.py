"""What the schedules of mmdet's own models share here: the loops, and a batch of 16 images.

A leaf takes the optimizer of mmdet's config and sets the length; lengths that mmdet gives in epochs
are iterations here, of 118,287 training images in 16s.
"""

train_cfg = dict(type='PanopticIterBasedTrainLoop', val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
