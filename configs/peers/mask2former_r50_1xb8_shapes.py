"""mmdet's Mask2Former R50 on generated scenes: the peer that CMT-DeepLab is compared with where COCO is out of reach.

    python tools/train.py configs/peers/mask2former_r50_1xb8_shapes.py
Hardware: one GPU, or a CPU and patience. Cost: 20,000 iterations of 8 images of 96x96. Expected PQ: unknown, not trained by us.
"""

_base_ = [
    '../_base_/models/mask2former_r50.py',
    '../_base_/datasets/shapes_panoptic_masks.py',
    '../_base_/schedules/adamw_mask2former.py',
    '../_base_/default_runtime.py',
]
counts = dict(
    num_things_classes=_base_.num_things_classes, num_stuff_classes=_base_.num_stuff_classes
)
class_weight = [1.0] * sum(counts.values()) + [0.1]
model = dict(
    panoptic_head=dict(loss_cls=dict(class_weight=class_weight), **counts),
    panoptic_fusion_head=counts,
)
train_cfg = dict(max_iters=20000, val_interval=2000)
param_scheduler = [
    dict(
        type='MultiStepLR', by_epoch=False, begin=0, end=20000, milestones=[17778, 19259], gamma=0.1
    )
]
auto_scale_lr = dict(base_batch_size=8)
