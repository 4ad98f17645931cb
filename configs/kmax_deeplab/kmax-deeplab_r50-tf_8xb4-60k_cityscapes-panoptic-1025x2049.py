"""kMaX-DeepLab with R50, TensorFlow form, on Cityscapes: 60k iterations.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_r50-tf_8xb4-60k_cityscapes-panoptic-1025x2049.py 8 --amp
Hardware: 8 GPUs of 80 GB, 4 images each. Cost: 1.9 million images at 431.9 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on Cityscapes val: 64.3 (deeplab2). Not trained by us.
Weights: torchvision's were trained with the max pooling, so this form wants converted weights of
deeplab2 in model.backbone.init_cfg.
"""

_base_ = [
    '../_base_/models/kmax-deeplab_r50-tf.py',
    '../_base_/models/on_cityscapes.py',
    '../_base_/datasets/cityscapes_panoptic_index.py',
    '../_base_/schedules/adamw_60k_cityscapes.py',
    '../_base_/default_runtime.py',
]
model = dict(_base_.for_model, backbone=dict(with_stem_output=True), **_base_.on_cityscapes)
