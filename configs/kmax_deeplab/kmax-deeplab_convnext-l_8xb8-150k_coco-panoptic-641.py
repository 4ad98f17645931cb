"""kMaX-DeepLab with ConvNeXt-L through timm, crop 641, batch 64, 150k iterations.

    bash tools/dist_train.sh configs/kmax_deeplab/kmax-deeplab_convnext-l_8xb8-150k_coco-panoptic-641.py 8 --amp
Hardware: 8 GPUs, 8 images each. Cost: 9.6 million images at 334.7 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: not published at 641; at 1281: 57.9 (deeplab2 and bytedance/kmax-deeplab). Not trained by us.
"""

_base_ = './kmax-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
weights = 'https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_224.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='convnext_large',
        drop_path_rate=0.6,
        init_cfg=dict(type='Pretrained', checkpoint=weights),
    )
)
