"""CMT-DeepLab with a ResNet-18 from scratch, for a short run on a CPU.

One CMT layer at each of strides 32, 16 and 8, masks at stride 2. In a short schedule mask logits
must become confident soon, so their scale starts at 2 and the mask-id loss weighs 1; the running
averages of the norms follow in tens of iterations in place of hundreds.
"""

_base_ = './cmt-deeplab_r50.py'
norm_cfg = dict(momentum=0.1)
model = dict(
    align_corners=False,
    backbone=dict(
        depth=18, with_max_pool=False, with_stem_output=True, norm_cfg=norm_cfg, init_cfg=None
    ),
    panoptic_head=dict(
        norm_cfg=norm_cfg,
        pixel_decoder=dict(
            kinds=('axial', 'axial', 'bottleneck', 'bottleneck', 'bottleneck'),
            filters=(64, 64, 48, 32, 16),
            num_blocks=(1, 1, 1, 1, 1),
            dilations=(1, 1, 1, 1, 1),
            drop_path=0.0,
        ),
        transformer_decoder=dict(
            num_centers=64,
            center_channels=128,
            layers_per_stage=(1, 1, 1),
            layer=dict(
                hidden_channels=128,
                heads=4,
                key_channels=64,
                value_channels=128,
                ffn_channels=256,
                drop_path=0.0,
            ),
        ),
        predictor=dict(hidden_channels=128, feature_channels=64, mask_gamma=2.0),
        semantic_head=dict(channels=64, fuse_channels=(32, 16), rates=(1, 2, 3)),
    ),
    criterion=dict(
        losses=dict(
            mask_id=dict(loss_weight=1.0),
            discrimination=dict(num_samples=512),
            semantic=dict(num_samples=512),
        )
    ),
)
