"""CMT-DeepLab for a CPU and images of about a hundred pixels: three stages of a narrow ResNet-18, a CMT layer at strides 16 and 8, masks at stride 4.

In a short schedule mask logits must become confident soon, so their scale starts at 2 and the mask-id loss weighs 1; features must become
useful soon, so the backbone's residual branches start open, the semantic loss weighs 3 and the discrimination of single pixels little.
"""

norm_cfg = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)
model = dict(
    type='CMTDeepLab',
    align_corners=False,
    data_preprocessor=dict(type='PanopticDataPreprocessor'),
    backbone=dict(
        type='PanopticResNet',
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        base_channels=32,
        stem_channels=32,
        with_max_pool=False,
        zero_init_residual=False,
        norm_cfg=norm_cfg,
    ),
    panoptic_head=dict(
        type='CMTPanopticHead',
        norm_cfg=norm_cfg,
        act_cfg=dict(type='GELU'),
        pixel_decoder=dict(
            type='AxialPixelDecoder',
            kinds=('axial', 'bottleneck', 'bottleneck'),
            filters=(64, 32, 32),
            num_blocks=(1, 1, 1),
            dilations=(1, 1, 1),
        ),
        transformer_decoder=dict(
            type='CMTTransformerDecoder',
            num_centers=16,
            center_channels=96,
            layers_per_stage=(1, 1),
            layer=dict(
                type='CMTLayer',
                hidden_channels=96,
                heads=4,
                key_channels=48,
                value_channels=96,
                ffn_channels=256,
            ),
        ),
        predictor=dict(
            type='CMTPredictor', hidden_channels=64, feature_channels=64, mask_gamma=2.0
        ),
        semantic_head=dict(
            type='PanopticSemanticHead',
            channels=48,
            fuse=(1, 2),
            fuse_channels=(32, 16),
            rates=(1, 2, 3),
        ),
    ),
    criterion=dict(
        type='PanopticCriterion',
        deep_supervision_weight=0.3,
        losses=[
            dict(type='PanopticPQLoss', loss_weight=6.0, weights_of='stage'),
            dict(type='PanopticMaskIDLoss', loss_weight=1.0),
            dict(type='PanopticInstanceDiscriminationLoss', loss_weight=0.2, num_samples=256),
            dict(type='PanopticSemanticLoss', loss_weight=3.0, num_samples=256),
            dict(type='PanopticReferencePointLoss', loss_weight=1.0),
        ],
    ),
    postprocess=dict(type='PanopticMaskWiseMerge'),
)
