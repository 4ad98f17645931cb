"""MaX-DeepLab-L: Wide ResNet-41 with axial attention and two hourglasses behind the backbone.

The backbone ends with stage 3 (stride 8). The pixel decoder's stages, in order: stage 4 (one
strided basic block, two axial ones) and stage 5 (three axial), a MaX layer at stride 16 after each
block; a down-up hourglass 8, 4, 8 of basic blocks; at stride 16 one block ('decoder_stage4', still
pretrained) and three more; 8, 4, 8; three at stride 16; 8, 4. Stage 4's layers have half the width
of the others. The auxiliary semantic head reads the stride-4 end of the second hourglass, so it
needs no ASPP. Small instances weigh 3 in the semantic loss. Everything else is as in MaX-DeepLab-S.
Sources: deeplab2 ``axial_resnet_instances.py`` (MaXDeepLabL), ``configs/coco/max_deeplab``.
"""

_base_ = './max-deeplab_s.py'
wide = dict(hidden_channels=512, key_channels=256, value_channels=512)
narrow = dict(hidden_channels=256, key_channels=128, value_channels=256)
axial = ('axial', 512, 1, 16, 0.2)
down_up = [('basic', 128, 1, 8, 0.1), ('basic', 64, 1, 4, 0.05), ('basic', 128, 1, 8, 0.1)]
last_down_up = [(kind, filters, 3, *rest) for kind, filters, _, *rest in down_up]
stages = [  # kind, filters, blocks, stride, drop path
    ('basic', 256, 1, 16, 0.1),
    *[('axial', 256, 1, 16, 0.15)] * 2,
    ('axial', 512, 1, 16, 0.15),
    *[axial] * 2,
    *down_up,
    *[axial] * 4,
    *last_down_up,
    *[axial] * 3,
    *last_down_up[:2],
]
kinds, filters, num_blocks, strides, drop_path = zip(*stages)
model = dict(
    backbone=dict(
        _delete_=True,
        type='MaXWideResNet',
        num_blocks=(3, 3, 6),
        drop_path=0.2,
        norm_cfg=_base_.norm_cfg,
        act_cfg=_base_.act_cfg,
    ),
    panoptic_head=dict(
        pixel_decoder=dict(
            in_strides=(4, 8),
            kinds=kinds,
            filters=filters,
            num_blocks=num_blocks,
            strides=strides,
            drop_path=drop_path,
            axial=dict(bottleneck_expansion=4, key_expansion=2, value_expansion=4),
        ),
        transformer_decoder=dict(
            center_channels=512,
            layers_per_stage=tuple(int(stride == 16) for stride in strides[:-2]),
            layer=[
                dict(type='MaXLayer', drop_path=rate, **(narrow if stage < 3 else wide))
                for stage, rate in enumerate((0.1, 0.15, 0.15, 0.15, *(0.2,) * 15))
            ],
        ),
        predictor=dict(center_hidden_channels=512),
        semantic_head=dict(rates=None, fuse=(), fuse_channels=()),
        semantic_stage=14,
    ),
    criterion=dict(losses=dict(semantic=dict(small_instance_weight=3.0))),
)
del (
    wide,
    narrow,
    axial,
    down_up,
    last_down_up,
    stages,
    kinds,
    filters,
    num_blocks,
    strides,
    drop_path,
)
