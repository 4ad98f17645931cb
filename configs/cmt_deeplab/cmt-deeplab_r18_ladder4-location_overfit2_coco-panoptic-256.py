"""Ablation ladder, rung 4: + reference mask and coordinate convolution, learning two images by heart: a check that the rung can fit real scenes.

    python tools/train.py configs/cmt_deeplab/cmt-deeplab_r18_ladder4-location_overfit2_coco-panoptic-256.py --amp
Hardware: 2 CPU cores, about 5 minutes. Expected PQ on these two images: see docs/measurements.md; it says nothing of any other image.
"""

_base_ = './cmt-deeplab_r18_ladder3-residual-logits_overfit2_coco-panoptic-256.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(layer=dict(reference_mask=True, coordinate_conv=True))
    )
)
