"""MaX-DeepLab-L: crop 641, batch 64, 100k iterations.

    bash tools/dist_train.sh \
        configs/max_deeplab/max-deeplab-l_8xb8-100k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 6.4 million images at 1455.4 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: not published at 641; at 1025: 50.9 (deeplab2). Not trained by us.
Stages 4 and 5 and the first hourglass are pretrained as the backbone is.
"""

_base_ = [
    '../_base_/models/max-deeplab_l.py',
    '../_base_/datasets/coco_panoptic_index.py',
    '../_base_/schedules/adam_100k.py',
    '../_base_/default_runtime.py',
]
model = _base_.for_model
color = dict(type='PanopticColorJitter')
pipeline = [*_base_.max_pipeline[:-1], color, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
pretrained = {f'pixel_decoder.blocks.{i}.': dict(lr_mult=0.1) for i in range(3, 10)}
optim_wrapper = dict(optimizer=dict(lr=3e-4), paramwise_cfg=dict(custom_keys=pretrained))
