"""Ablation ladder, rung 4: + reference mask and coordinate convolution.

A reference mask of five points a center and coordinates on the pixels, with the loss on the points.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_ladder4-location_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs. Expected PQ on COCO val: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_ladder3-residual-logits_8xb8-150k_coco-panoptic-641.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(layer=dict(reference_mask=True, coordinate_conv=True))
    )
)
