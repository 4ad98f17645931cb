"""Ablation ladder, rung 1: + clustering update.

The clustering softmax is over centers at the pixels alone, so the centers' attention to each other becomes one of its own.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_ladder1-clustering-update_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs. Expected PQ on COCO val: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_ladder0-max-layer_8xb8-150k_coco-panoptic-641.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(
            layer=dict(
                type='CMTLayer', residual_logits=False, reference_mask=False, coordinate_conv=False
            )
        )
    )
)
