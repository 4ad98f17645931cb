"""CMT-DeepLab Axial-R104: crop 1281, the full recipe, 200k iterations.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_axial-r104_8xb8-200k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 12.8 million images at 967.4 GMACs forward
(tools/analysis_tools/get_flops.py).
Activations are recomputed in the backward pass (with_cp), so that 8 images fit into 80 GB.
Expected PQ on COCO val: no figure at hand; for Axial-R104 with RFN 55.3 is published. Not trained
by us.
Axial-R50 with 24 blocks in stage 4 in place of 6, inferred from the published sizes (135 M
parameters, 553 GMACs, both recalled; docs/design.md).
"""

_base_ = [
    '../_base_/models/cmt-deeplab_axial-r104.py',
    '../_base_/datasets/coco_panoptic_index_1281.py',
    '../_base_/schedules/adamw_200k_axial.py',
    '../_base_/default_runtime.py',
]
model = dict(_base_.for_model, with_cp=True)
