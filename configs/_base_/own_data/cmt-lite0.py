"""CMT-DeepLab on EfficientNet-Lite0, pretrained on ImageNet: tens to hundreds of images, on a CPU.

Its layers have no reference mask and no coordinate convolution, which gained nothing on few images
(docs/study.md). The last feature of the backbone is the one that its classifier of ImageNet reads
(docs/measurements.md). A leaf takes the data by ``own_data`` (docs/own_data.md).
"""

_base_ = [
    '../models/cmt-deeplab_lite0.py',
    '../datasets/own_panoptic.py',
    '../schedules/adamw_own_data.py',
    './runtime.py',
]
model = dict(
    backbone=dict(with_head_output=True),
    panoptic_head=dict(
        transformer_decoder=dict(layer=dict(reference_mask=False, coordinate_conv=False))
    ),
    criterion=dict(losses=dict(reference_points=None)),
)
