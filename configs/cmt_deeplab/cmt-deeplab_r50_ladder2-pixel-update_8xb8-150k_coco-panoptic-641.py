"""Ablation ladder, rung 2: + pixel update.

    bash tools/dist_train.sh \
      configs/cmt_deeplab/cmt-deeplab_r50_ladder2-pixel-update_8xb8-150k_coco-panoptic-641.py \
      8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs.
Expected PQ on COCO val: not published, not trained by us.
Pixels hear from their centers. README.md has the whole ladder.
"""

_base_ = './cmt-deeplab_r50_ladder4-location_8xb8-150k_coco-panoptic-641.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(
            layer=dict(residual_logits=False, reference_mask=False, coordinate_conv=False)
        )
    )
)
