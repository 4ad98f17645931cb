"""CMT-DeepLab R50, small: crop 641, otherwise the full recipe.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs. Expected PQ on COCO val: not published, not trained by us.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_r50.py',
    '../_base_/datasets/coco_panoptic_index.py',
    '../_base_/schedules/adamw_150k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_things_classes=_base_.num_things_classes,
    num_stuff_classes=_base_.num_stuff_classes,
    data_preprocessor=dict(size=_base_.image_size),
)
train_dataloader = dict(batch_size=8, num_workers=8)
