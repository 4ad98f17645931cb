"""kMaX-DeepLab with Axial-R50 (MaX-S with GELU), TensorFlow form: crop 1281, 150k iterations.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_axial-r50_8xb8-150k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 9.6 million images at 419.8 GMACs forward
(tools/analysis_tools/get_flops.py).
Activations are recomputed in the backward pass (with_cp), so that 8 images fit into 80 GB.
Expected PQ on COCO val: 56.2 (deeplab2, pretrained on ImageNet-22K). Not trained by us.
Weights: deeplab2 publishes ImageNet weights for TensorFlow only; give converted ones as
model.backbone.init_cfg.
"""

_base_ = [
    '../_base_/models/kmax-deeplab_axial-r50.py',
    '../_base_/datasets/coco_panoptic_index_1281.py',
    '../_base_/schedules/adamw_150k.py',
    '../_base_/default_runtime.py',
]
model = dict(_base_.for_model, with_cp=True)
