"""Ablation ladder, rung 5: + pixel-wise instance discrimination.

In place of the per-mask one. This is CMT-DeepLab: the model of cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_ladder5-pixel-discrimination_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs. Expected PQ on COCO val: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_ladder4-location_8xb8-150k_coco-panoptic-641.py'
model = dict(criterion=dict(losses=_base_.per_pixel_losses))
