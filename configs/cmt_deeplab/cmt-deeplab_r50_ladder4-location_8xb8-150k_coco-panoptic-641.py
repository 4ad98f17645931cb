"""Ablation ladder, rung 4: + reference mask and coordinate convolution.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_r50_ladder4-location_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs.
Expected PQ on COCO val: not published, not trained by us.
A reference mask of five points per center and coordinates at the pixels, with the loss on the
points. README.md has the whole ladder.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
model = dict(
    criterion=dict(
        losses=dict(
            discrimination=dict(
                _delete_=True, type='PanopticMaskDiscriminationLoss', loss_weight=1.0
            )
        )
    )
)
