"""The tiny CMT-DeepLab, from scratch: images of about a hundred pixels, in minutes.

Its layers have no reference mask and no coordinate convolution, as in the quickstart
(docs/study.md). A leaf takes the data by ``own_data`` (docs/own_data.md).
"""

_base_ = [
    '../models/cmt-deeplab_tiny.py',
    '../datasets/own_panoptic.py',
    '../schedules/adamw_short.py',
    './runtime.py',
]
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(layer=dict(reference_mask=False, coordinate_conv=False))
    ),
    criterion=dict(losses=dict(reference_points=None)),
    postprocess=dict(thing_threshold=0.3, stuff_threshold=0.3),
)
auto_scale_lr = dict(base_batch_size=4)  # as the data loader; cmt-deeplab_tiny_shapes.py has 8
