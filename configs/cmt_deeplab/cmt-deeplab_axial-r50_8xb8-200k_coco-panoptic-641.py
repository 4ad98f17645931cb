"""CMT-DeepLab Axial-R50: crop 641, batch 64, 200k iterations.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_axial-r50_8xb8-200k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 12.8 million images at 172.3 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: no figure at hand; with RFN and Axial-R104 55.3 is published. Not trained by us.
The blocks of stage 5, pretrained as the backbone is, learn at its rate. Weights: converted ones of deeplab2, as model.backbone.init_cfg.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_axial-r50.py',
    '../_base_/datasets/coco_panoptic_index.py',
    '../_base_/schedules/adamw_200k.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_things_classes=_base_.num_things_classes,
    num_stuff_classes=_base_.num_stuff_classes,
    data_preprocessor=dict(size=_base_.image_size),
)
train_dataloader = dict(
    batch_size=8, num_workers=8, dataset=dict(pipeline=_base_.copy_paste_pipeline)
)
stage5 = {f'pixel_decoder.blocks.{i}.': dict(lr_mult=0.1) for i in range(3)}
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=stage5))
