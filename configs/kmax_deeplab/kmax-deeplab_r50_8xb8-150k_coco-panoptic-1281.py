"""kMaX-DeepLab with R50, PyTorch form: crop 1281, 150k iterations.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_r50_8xb8-150k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 9.6 million images at 292.0 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: 53.0 (deeplab2) and 53.3 (bytedance/kmax-deeplab). Not trained by us.
"""

_base_ = [
    '../_base_/models/kmax-deeplab_r50.py',
    '../_base_/datasets/coco_panoptic_index_1281.py',
    '../_base_/schedules/adamw_150k_pytorch.py',
    '../_base_/default_runtime.py',
]
model = _base_.for_model
train_dataloader = dict(dataset=dict(pipeline=_base_.wide_pipeline))
