"""CMT-DeepLab on EfficientNet-Lite0, pretrained on ImageNet: tens to hundreds of images, on a CPU.

A leaf takes the data by ``own_data`` (docs/own_data.md).
"""

_base_ = [
    '../models/cmt-deeplab_lite0.py',
    '../datasets/own_panoptic.py',
    '../schedules/adamw_own_data.py',
    './runtime.py',
]
