"""MaX-DeepLab-S: crop 1025, batch 64, 100k iterations.

    bash tools/dist_train.sh \
        configs/max_deeplab/max-deeplab-s_8xb8-100k_coco-panoptic-1025.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 6.4 million images at 325.8 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: 47.9 (deeplab2; 48.7 after 200k, 49.0 after 400k iterations). Not trained
by us.
Weights: converted ones of deeplab2, as model.backbone.init_cfg.
"""

_base_ = [
    '../_base_/models/max-deeplab_s.py',
    '../_base_/datasets/coco_panoptic_index_1025.py',
    '../_base_/schedules/adam_100k.py',
    '../_base_/default_runtime.py',
]
model = _base_.for_model
train_dataloader = dict(dataset=dict(pipeline=_base_.max_pipeline))
