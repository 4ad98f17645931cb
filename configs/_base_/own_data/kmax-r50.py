"""kMaX-DeepLab R50 on own data, pretrained on ImageNet: hundreds of images, on a GPU.

A leaf takes the data by ``own_data`` (docs/own_data.md).
"""

_base_ = [
    '../models/kmax-deeplab_r50.py',
    '../datasets/own_panoptic.py',
    '../schedules/adamw_own_data.py',
    './runtime.py',
]
model = dict(
    backbone=dict(norm_eval=True),
    panoptic_head=dict(predictor=dict(mask_gamma=2.0)),  # masks become confident soon
    criterion=dict(
        assigner=dict(type='PanopticHungarianAssigner', stuff_centers=True),
        losses=dict(mask_id=dict(loss_weight=1.0)),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
