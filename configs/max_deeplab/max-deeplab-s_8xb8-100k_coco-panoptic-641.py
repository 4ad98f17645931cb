"""MaX-DeepLab-S, crop 641, batch 64, 100k iterations.

    bash tools/dist_train.sh configs/max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 6.4 million images at 127.7 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: 45.9 (deeplab2; 46.5 after 200k, 47.0 after 400k iterations). Not trained by us.
The blocks of stage 5, pretrained as the backbone is, learn at its rate. Weights: converted ones of deeplab2, as model.backbone.init_cfg.
"""

_base_ = [
    '../_base_/models/max-deeplab_s.py',
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
    _base_.train_pipeline[3],
    dict(type='PackPanopticInputs'),
]
train_dataloader = dict(batch_size=8, num_workers=8, dataset=dict(pipeline=train_pipeline))
stage5 = {f'pixel_decoder.blocks.{i}.': dict(lr_mult=0.1) for i in range(3)}
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=stage5))
