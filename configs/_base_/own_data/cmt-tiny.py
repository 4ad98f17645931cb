"""The tiny CMT-DeepLab, from scratch: images of about a hundred pixels, in minutes.

A leaf takes the data by ``own_data`` (docs/own_data.md).
"""

_base_ = [
    '../models/cmt-deeplab_tiny.py',
    '../datasets/own_panoptic.py',
    '../schedules/adamw_short.py',
    './runtime.py',
]
model = dict(postprocess=dict(thing_threshold=0.3, stuff_threshold=0.3))
auto_scale_lr = dict(base_batch_size=4)  # as the data loader; cmt-deeplab_tiny_shapes.py has 8
