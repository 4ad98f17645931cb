"""kMaX-DeepLab with ConvNeXt-S, on Cityscapes: 60k iterations.

    bash tools/dist_train.sh \
      configs/kmax_deeplab/kmax-deeplab_convnext-s_8xb4-60k_cityscapes-panoptic-1025x2049.py \
      8 --amp
Hardware: 8 GPUs of 80 GB, 4 images each. Cost: 1.9 million images at 575.7 GMACs forward
(tools/analysis_tools/get_flops.py).
Expected PQ on Cityscapes val: 67.3 (deeplab2). Not trained by us.
The network is deeplab2's: the fifth stage of its pixel decoder takes the stem's feature and stays
at stride 4.
"""

_base_ = './kmax-deeplab_r50-tf_8xb4-60k_cityscapes-panoptic-1025x2049.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='convnext_small',
        drop_path_rate=0.3,
        with_stem_output=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://dl.fbaipublicfiles.com/convnext/convnext_small_22k_224.pth',
        ),
    )
)
