"""MaX-DeepLab-L: Wide ResNet-41 with axial attention, memory layers at stride 16, an hourglass within the backbone and two behind it.

The backbone ends with stage 3 (stride 8). The pixel decoder's stages, in order: stage 4 (one strided basic block, two axial ones) and
stage 5 (three axial), a memory layer after each block; down-up hourglass 8, 4, 8 of basic blocks; at stride 16 one block ('decoder_stage4',
still pretrained) and three more; 8, 4, 8; three at stride 16; 8, 4. Stage 4's memory layers have half the width of the others.
The auxiliary semantic head reads the stride-4 end of the second hourglass, so it needs no ASPP. Everything else as MaX-DeepLab-S.
Source: deeplab2 code (axial_resnet_instances.py MaXDeepLabL, configs/coco/max_deeplab).
"""

_base_ = './max-deeplab_s.py'
wide = dict(hidden_channels=512, key_channels=256, value_channels=512)
narrow = dict(hidden_channels=256, key_channels=128, value_channels=256)
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
            kinds=(
                'basic',
                *('axial',) * 5,
                *('basic',) * 3,
                *('axial',) * 4,
                *('basic',) * 3,
                *('axial',) * 3,
                *('basic',) * 2,
            ),
            filters=(
                *(256,) * 3,
                *(512,) * 3,
                128,
                64,
                128,
                *(512,) * 4,
                128,
                64,
                128,
                *(512,) * 3,
                128,
                64,
            ),
            num_blocks=(*(1,) * 13, 3, 3, 3, 1, 1, 1, 3, 3),
            strides=(*(16,) * 6, 8, 4, 8, *(16,) * 4, 8, 4, 8, *(16,) * 3, 8, 4),
            drop_path=(
                0.1,
                0.15,
                0.15,
                0.15,
                0.2,
                0.2,
                0.1,
                0.05,
                0.1,
                *(0.2,) * 4,
                0.1,
                0.05,
                0.1,
                *(0.2,) * 3,
                0.1,
                0.05,
            ),
            axial=dict(bottleneck_expansion=4, key_expansion=2, value_expansion=4),
        ),
        transformer_decoder=dict(
            center_channels=512,
            layers_per_stage=(*(1,) * 6, 0, 0, 0, *(1,) * 4, 0, 0, 0, *(1,) * 3),
            layer=[
                dict(type='MaXLayer', drop_path=rate, **(narrow if stage < 3 else wide))
                for stage, rate in enumerate((0.1, 0.15, 0.15, 0.15, *(0.2,) * 15))
            ],
        ),
        predictor=dict(center_hidden_channels=512),
        semantic_head=dict(rates=None, fuse=(), fuse_channels=()),
        semantic_stage=14,
    ),
)
del wide, narrow
