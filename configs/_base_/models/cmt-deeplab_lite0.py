"""CMT-DeepLab on EfficientNet-Lite0 of timm, pretrained on ImageNet: for a few hundred images."""

_base_ = './cmt-deeplab_r50.py'
norm_cfg = dict(momentum=0.1)
model = dict(
    align_corners=False,
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='tf_efficientnet_lite0',
        frozen_stages=2,
        norm_eval=True,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://github.com/rwightman/pytorch-image-models/releases/download/'
            'v0.1-weights/tf_efficientnet_lite0-0aa007d2.pth',
        ),
    ),
    panoptic_head=dict(
        norm_cfg=norm_cfg,
        pixel_decoder=dict(
            kinds=('axial', 'axial', 'bottleneck', 'bottleneck'),
            filters=(64, 64, 48, 32),
            num_blocks=(1, 1, 1, 1),
            dilations=(1, 1, 1, 1),
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
        semantic_head=dict(channels=96, fuse_channels=(48, 24), rates=(1, 2, 3)),
    ),
    criterion=dict(
        deep_supervision_weight=0.3,
        assigner=dict(type='PanopticHungarianAssigner', stuff_centers=True),
        losses=dict(
            pq=dict(loss_weight=6.0, unmatched_weight='void_share'),
            mask_id=dict(loss_weight=1.0),
            discrimination=dict(loss_weight=0.2, num_samples=512),
            semantic=dict(loss_weight=3.0, num_samples=2048),
        ),
    ),
    postprocess=dict(
        thing_threshold=0.3, stuff_threshold=0.3, overlap_threshold=0.5, pixel_threshold=0.2
    ),
)
