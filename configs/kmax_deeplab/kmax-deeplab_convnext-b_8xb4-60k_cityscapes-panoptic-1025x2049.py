"""kMaX-DeepLab with ConvNeXt-B through timm, masks at stride 2, on Cityscapes: 1025x2049, batch 32, 60k iterations.

    bash tools/dist_train.sh configs/kmax_deeplab/kmax-deeplab_convnext-b_8xb4-60k_cityscapes-panoptic-1025x2049.py 8 --amp
Hardware: 8 GPUs of 80 GB, 4 images each. Cost: 1.9 million images at 910.3 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on Cityscapes val: 68.0 (deeplab2). Not trained by us.
"""

_base_ = './kmax-deeplab_r50_8xb4-60k_cityscapes-panoptic-1025x2049.py'
weights = 'https://dl.fbaipublicfiles.com/convnext/convnext_base_22k_224.pth'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='convnext_base',
        drop_path_rate=0.5,
        init_cfg=dict(type='Pretrained', checkpoint=weights),
    )
)
