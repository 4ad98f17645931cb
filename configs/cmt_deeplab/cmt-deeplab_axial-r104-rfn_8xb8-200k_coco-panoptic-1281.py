"""CMT-DeepLab Axial-R104-RFN: crop 1281, the full recipe, 200k iterations.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_axial-r104-rfn_8xb8-200k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 12.8 million images at 1949.5 GMACs forward
(tools/analysis_tools/get_flops.py).
Activations are recomputed in the backward pass (with_cp), so that 8 images fit into 80 GB.
Expected PQ on COCO val: 55.3 (and 55.7 on test-dev), published. Not trained by us.
The whole of Axial-R104 twice; the second backbone also reads the features that the first pass has
at strides 4, 8 and 16.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_axial-r104.py',
    '../_base_/datasets/coco_panoptic_index_1281.py',
    '../_base_/schedules/adamw_200k_axial.py',
    '../_base_/default_runtime.py',
]
model = dict(
    _base_.for_model,
    type='CMTDeepLabRFN',
    feedback=dict(stage2=7, stage3=6, stage4=5),
    with_cp=True,
)
