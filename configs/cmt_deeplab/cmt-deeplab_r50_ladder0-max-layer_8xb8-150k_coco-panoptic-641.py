"""Ablation ladder, rung 0: MaX layer.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_r50_ladder0-max-layer_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images, 81 epochs.
Expected PQ on COCO val: not published, not trained by us.
Centers read pixels and centers in one softmax; pixels hear nothing of them; instance discrimination
per mask, as in MaX-DeepLab. README.md has the whole ladder.
"""

_base_ = './cmt-deeplab_r50_ladder4-location_8xb8-150k_coco-panoptic-641.py'
model = dict(
    panoptic_head=dict(transformer_decoder=dict(layer=dict(type='MaXLayer', pixel_update=False)))
)
