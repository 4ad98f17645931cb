"""CMT-DeepLab with DINOv2's ViT-S through timm (pip install timm): crop 641, 150k iterations.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_dinov2-s_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 9.6 million images at 126.7 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ: not published, not trained by us.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
model = dict(
    data_preprocessor=dict(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    backbone=dict(
        _delete_=True,
        type='TimmViT',
        model_name='vit_small_patch14_dinov2',
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/'
            'dinov2_vits14_pretrain.pth',
        ),
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(decay_rate=0.8, custom_keys={'backbone.pyramid': dict(lr_mult=1.0)})
)
