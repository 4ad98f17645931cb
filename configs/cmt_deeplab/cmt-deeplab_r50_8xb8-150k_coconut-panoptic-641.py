"""CMT-DeepLab R50 on COCONut-S: crop 641, 150k iterations.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coconut-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 9.6 million images at 77.3 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on the relabeled COCO val: not published, not trained by us.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_r50.py',
    '../_base_/datasets/coconut_panoptic_index.py',
    '../_base_/schedules/adamw_150k.py',
    '../_base_/default_runtime.py',
]
model = _base_.for_model
