"""kMaX-DeepLab with ConvNeXt-L through timm, PyTorch form: crop 1281, 150k iterations.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_convnext-l_8xb8-150k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 80 GB, 8 images each. Cost: 9.6 million images at 1308.4 GMACs forward
(tools/analysis_tools/get_flops.py).
Activations are recomputed in the backward pass (with_cp), so that 8 images fit into 80 GB.
Expected PQ on COCO val: 57.9 (deeplab2 and bytedance/kmax-deeplab). Not trained by us.
"""

_base_ = './kmax-deeplab_r50_8xb8-150k_coco-panoptic-1281.py'
model = dict(
    with_cp=True,
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='convnext_large',
        drop_path_rate=0.6,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_large_22k_1k_384.pth',
        ),
    ),
)
