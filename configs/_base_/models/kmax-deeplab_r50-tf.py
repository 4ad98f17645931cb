"""kMaX-DeepLab with a ResNet-50, in the form of the TensorFlow code (deeplab2).

kmax-deeplab_r50.py lists the differences. No ImageNet weights are set: torchvision's were trained
with the max pooling that this form does not have. Source of the merge: deeplab2
``configs/coco/kmax_deeplab`` and ``model/post_processor/max_deeplab.py``.
"""

_base_ = './kmax-deeplab_r50.py'
model = dict(
    backbone=dict(with_max_pool=False, pre_activation_outputs=True, init_cfg=None),
    panoptic_head=dict(
        pixel_decoder=dict(dilations=(1, 1, 2, 2)),
        semantic_head=dict(skip_act_cfg=dict(type='ReLU')),
    ),
    postprocess=dict(_delete_=True, type='PanopticMaskWiseMerge', score_at_stride=True),
)
