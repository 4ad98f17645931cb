"""Ablation ladder, rung 0: MaX layer.

Centers read pixels and centers in one softmax; pixels hear nothing of them; per-mask instance discrimination, as MaX-DeepLab has it.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_ladder0-max-layer_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs. Expected PQ on COCO val: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
per_pixel_losses = _base_.model.criterion.losses
per_mask_losses = [
    *per_pixel_losses[:2],
    dict(type='PanopticMaskDiscriminationLoss', loss_weight=1.0),
    *per_pixel_losses[3:],
]
model = dict(
    panoptic_head=dict(transformer_decoder=dict(layer=dict(type='MaXLayer', pixel_update=False))),
    criterion=dict(losses=per_mask_losses),
)
