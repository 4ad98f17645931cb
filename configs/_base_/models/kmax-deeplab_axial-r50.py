"""kMaX-DeepLab with an Axial-ResNet-50 (MaX-S with GELU, output stride 32), in TensorFlow's form.

74,415,512 parameters with COCO's classes, without the semantic head, which only trains. Source:
deeplab2 ``model/pixel_encoder/axial_resnet.py``.
"""

_base_ = './kmax-deeplab_r50-tf.py'
act_cfg = dict(type='GELU')
model = dict(
    backbone=dict(
        _delete_=True,
        type='AxialResNet',
        num_blocks=(3, 4, 6, 3),
        output_stride=32,
        pre_activation_outputs=True,
        drop_path=0.2,
        drop_path_schedule='linear',
        norm_cfg=_base_.norm_cfg,
        act_cfg=act_cfg,
    ),
    panoptic_head=dict(semantic_head=dict(skip_act_cfg=act_cfg)),
)
