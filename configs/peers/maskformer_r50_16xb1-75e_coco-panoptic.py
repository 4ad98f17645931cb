"""mmdet's MaskFormer R50 on our data path, tools and metric.

    GPUS=16 bash tools/slurm_train.sh PARTITION JOB configs/peers/maskformer_r50_16xb1-75e_coco-panoptic.py work_dirs/maskformer
Hardware: 16 GPUs, 1 image each, 16 GB (mmdet's metafile). Cost: 554,475 iterations of 16 images at 1024x1024.
PQ 46.9 on COCO val: mmdet's own weights, trained at several scales of 1333x800; here crops of 1024. Not trained by us.
"""

_base_ = [
    '../_base_/models/maskformer_r50.py',
    '../_base_/datasets/coco_panoptic_masks.py',
    '../_base_/schedules/adamw_maskformer.py',
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
train_dataloader = dict(batch_size=1)
