"""CMT-DeepLab R50, masks at stride 2, on Cityscapes: 1025x2049, batch 32, 60k iterations.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_r50_8xb4-60k_cityscapes-panoptic-1025x2049.py 8 --amp
Hardware: 8 GPUs of 80 GB, 4 images each. Cost: 1.9 million images at 451.1 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on Cityscapes val: not published. Not trained by us.
Iterations, losses and merge are those of deeplab2's kMaX-DeepLab on Cityscapes.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_r50.py',
    '../_base_/models/on_cityscapes.py',
    '../_base_/datasets/cityscapes_panoptic_index.py',
    '../_base_/schedules/adamw_60k_cityscapes.py',
    '../_base_/default_runtime.py',
]
model = dict(_base_.for_model, backbone=dict(with_stem_output=True), **_base_.on_cityscapes)
