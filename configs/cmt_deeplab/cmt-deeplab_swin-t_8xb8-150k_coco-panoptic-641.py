"""CMT-DeepLab with mmdet's Swin-T: another backbone by one sub-config.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_swin-t_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images.
Expected PQ: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
weights = (
    'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
    'swin_tiny_patch4_window7_224.pth'
)
model = dict(
    backbone=dict(
        _delete_=True,
        type='PanopticSwinTransformer',
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint=weights),
    )
)
