"""kMaX-DeepLab with ConvNeXt-T through timm, PyTorch form: crop 641, 150k iterations.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_convnext-t_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 9.6 million images at 76.8 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: not published at 641; at 1281: 55.3 (deeplab2) and 55.5 (bytedance/kmax-
deeplab). Not trained by us.
"""

_base_ = './kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='convnext_tiny',
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_tiny_22k_1k_384.pth',
        ),
    )
)
