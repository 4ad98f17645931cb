"""MaX-DeepLab-L, crop 641, batch 64, 100k iterations.

    bash tools/dist_train.sh configs/max_deeplab/max-deeplab-l_8xb8-100k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 6.4 million images at 1455.4 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: not published at 641; 50.9 at 1025 (deeplab2). Not trained by us.
Stages 4 and 5 and the first hourglass are pretrained as the backbone is. Color jitter as in the source, of our kind.
"""

_base_ = [
    '../_base_/models/max-deeplab_l.py',
    '../_base_/datasets/coco_panoptic_index.py',
    '../_base_/schedules/adam_100k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_things_classes=_base_.num_things_classes,
    num_stuff_classes=_base_.num_stuff_classes,
    data_preprocessor=dict(size=_base_.image_size),
)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 1.5)),
    *_base_.train_pipeline[3:],
]
train_dataloader = dict(batch_size=8, num_workers=8, dataset=dict(pipeline=train_pipeline))
pretrained = {f'pixel_decoder.blocks.{i}.': dict(lr_mult=0.1) for i in range(10)}
optim_wrapper = dict(optimizer=dict(lr=3e-4), paramwise_cfg=dict(custom_keys=pretrained))
