"""kMaX-DeepLab with a ResNet-50, in the form of the TensorFlow code (deeplab2); see kmax-deeplab_r50.py for the differences."""

_base_ = './kmax-deeplab_r50.py'
model = dict(
    backbone=dict(
        with_max_pool=False, pre_activation_outputs=True, init_cfg=None
    ),  # torchvision's weights have the pooling
    panoptic_head=dict(
        pixel_decoder=dict(dilations=(1, 1, 2, 2)),
        semantic_head=dict(skip_act_cfg=dict(type='ReLU')),
    ),
    postprocess=dict(score_at_stride=True, strict_class_threshold=False),
)
