"""CMT-DeepLab on EfficientNet-Lite0, on the 100 images of coco27_panoptic.py.

    python tools/train.py configs/study/cmt-deeplab_lite0_coco27-256.py
Hardware: 2 CPU cores, an hour. A row of tools/study/plans/real_images.py; docs/study.md.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_lite0.py',
    '../_base_/datasets/coco27_panoptic.py',
    '../_base_/schedules/adamw_own_data.py',
    '../_base_/default_runtime.py',
]
model = _base_.for_model
