"""mmdet's Panoptic FPN R50 on our data path, tools and metric. Needs mmcv's compiled operators, also on the CPU.

    bash tools/dist_train.sh configs/peers/panoptic-fpn_r50_8xb2-1x_coco-panoptic.py 8
Hardware: 8 GPUs, 2 images each, 5 GB (mmdet's metafile). Cost: 88,715 iterations of 16 images at 1024x1024.
PQ 40.2 on COCO val: mmdet's own weights, trained at 1333x800; here scale jitter and crops of 1024. Not trained by us.
"""

_base_ = [
    '../_base_/models/panoptic-fpn_r50.py',
    '../_base_/datasets/coco_panoptic_masks.py',
    '../_base_/schedules/sgd_1x.py',
    '../_base_/default_runtime.py',
]
counts = dict(
    num_things_classes=_base_.num_things_classes, num_stuff_classes=_base_.num_stuff_classes
)
things = dict(num_classes=counts['num_things_classes'])
model = dict(
    roi_head=dict(bbox_head=things, mask_head=things),
    semantic_head=counts,
    panoptic_fusion_head=counts,
)
