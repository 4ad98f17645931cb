"""Ablation ladder, rung 1: + clustering update, learning two images by heart: a check that the rung can fit real scenes.

    python tools/train.py configs/cmt_deeplab/cmt-deeplab_r18_ladder1-clustering-update_overfit2_coco-panoptic-256.py --amp
Hardware: 2 CPU cores, about 5 minutes. Expected PQ on these two images: see docs/measurements.md; it says nothing of any other image.
"""

_base_ = './cmt-deeplab_r18_ladder0-max-layer_overfit2_coco-panoptic-256.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(
            layer=dict(
                type='CMTLayer', residual_logits=False, reference_mask=False, coordinate_conv=False
            )
        )
    )
)
