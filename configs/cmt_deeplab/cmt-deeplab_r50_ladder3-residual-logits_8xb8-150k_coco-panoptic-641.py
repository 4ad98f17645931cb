"""Ablation ladder, rung 3: + residual logits.

    bash tools/dist_train.sh \
      configs/cmt_deeplab/cmt-deeplab_r50_ladder3-residual-logits_8xb8-150k_coco-panoptic-641.py \
      8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs.
Expected PQ on COCO val: not published, not trained by us.
The assignment logits of a layer are added to those of the next. README.md has the whole ladder.
"""

_base_ = './cmt-deeplab_r50_ladder4-location_8xb8-150k_coco-panoptic-641.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(layer=dict(reference_mask=False, coordinate_conv=False))
    )
)
