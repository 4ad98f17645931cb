"""CMT-DeepLab for a CPU and images of about a hundred pixels.

Three stages of a narrow ResNet-18, one CMT layer at each of strides 16 and 8, masks at stride 4. In
a short schedule mask logits must become confident soon, so their scale starts at 2 and the mask-id
loss weighs 1. Features must become useful soon, so the backbone's residual branches start open, the
semantic loss weighs 3 and the discrimination of single pixels little.
"""

_base_ = './cmt-deeplab_r50.py'
model = dict(
    align_corners=False,
    channels_last=True,  # a tenth faster on a CPU
    backbone=dict(
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        base_channels=32,
        stem_channels=32,
        with_max_pool=False,
        zero_init_residual=False,
        init_cfg=None,
    ),
    panoptic_head=dict(
        pixel_decoder=dict(
            kinds=('axial', 'bottleneck', 'bottleneck'),
            filters=(64, 32, 32),
            num_blocks=(1, 1, 1),
            dilations=(1, 1, 1),
            drop_path=0.0,
        ),
        transformer_decoder=dict(
            num_centers=16,
            center_channels=96,
            layers_per_stage=(1, 1),
            layer=dict(
                hidden_channels=96,
                heads=4,
                key_channels=48,
                value_channels=96,
                ffn_channels=256,
                drop_path=0.0,
            ),
        ),
        predictor=dict(hidden_channels=64, feature_channels=64, mask_gamma=2.0),
        semantic_head=dict(channels=48, fuse=(1, 2), fuse_channels=(32, 16), rates=(1, 2, 3)),
    ),
    criterion=dict(
        deep_supervision_weight=0.3,
        losses=dict(
            pq=dict(loss_weight=6.0),
            mask_id=dict(loss_weight=1.0),
            discrimination=dict(loss_weight=0.2, num_samples=256),
            semantic=dict(loss_weight=3.0, num_samples=256),
        ),
    ),
)
