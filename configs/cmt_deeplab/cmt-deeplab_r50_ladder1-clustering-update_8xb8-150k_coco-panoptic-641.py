"""Ablation ladder, rung 1: + clustering update.

    bash tools/dist_train.sh \
      configs/cmt_deeplab/cmt-deeplab_r50_ladder1-clustering-update_8xb8-150k_coco-panoptic-641.py \
      8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs.
Expected PQ on COCO val: not published, not trained by us.
The clustering softmax is over the centers at the pixels alone, so the centers' attention to each
other becomes one of its own. README.md has the whole ladder.
"""

_base_ = './cmt-deeplab_r50_ladder4-location_8xb8-150k_coco-panoptic-641.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(
            layer=dict(
                pixel_update=False,
                residual_logits=False,
                reference_mask=False,
                coordinate_conv=False,
            )
        )
    )
)
