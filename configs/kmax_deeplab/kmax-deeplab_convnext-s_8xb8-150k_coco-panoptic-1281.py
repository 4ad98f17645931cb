"""kMaX-DeepLab with ConvNeXt-S through timm, PyTorch form: crop 1281, 150k iterations.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_convnext-s_8xb8-150k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 9.6 million images at 443.4 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: 56.3 (deeplab2) and 56.7 (bytedance/kmax-deeplab). Not trained by us.
"""

_base_ = './kmax-deeplab_r50_8xb8-150k_coco-panoptic-1281.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='convnext_small',
        drop_path_rate=0.4,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_small_22k_1k_384.pth',
        ),
    )
)
