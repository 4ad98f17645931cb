"""CMT-DeepLab with timm's ConvNeXt-T (pip install timm): another backbone by one sub-config.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_convnext-t_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 150k iterations of 64 images.
Expected PQ: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='convnext_tiny',
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_224.pth',
        ),
    )
)
