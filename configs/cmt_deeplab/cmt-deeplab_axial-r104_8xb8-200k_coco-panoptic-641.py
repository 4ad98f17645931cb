"""CMT-DeepLab Axial-R104: crop 641, batch 64, 200k iterations.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_axial-r104_8xb8-200k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 12.8 million images at 240.2 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: no figure at hand; with RFN and Axial-R104 55.3 is published. Not trained by us.
Axial-R50 with 24 blocks in stage 4 in place of 6, inferred from the published sizes (135 M, 553 G, recalled; docs/design.md).
"""

_base_ = './cmt-deeplab_axial-r50_8xb8-200k_coco-panoptic-641.py'
model = dict(backbone=dict(num_blocks=(3, 4, 24, 3)))
