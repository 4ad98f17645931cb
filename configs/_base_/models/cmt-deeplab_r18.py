"""CMT-DeepLab with a ResNet-18 from scratch for a short run on a CPU: one CMT layer at each of strides 32, 16 and 8, masks at stride 2.

Mask logits start at a scale of 2 and the mask-id loss weighs 1, as in cmt-deeplab_tiny.py; the running averages of the norms follow in tens of
iterations in place of hundreds.
"""

norm_cfg = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.1)
model = dict(
    type='CMTDeepLab',
    align_corners=False,
    data_preprocessor=dict(type='PanopticDataPreprocessor'),
    backbone=dict(
        type='PanopticResNet',
        depth=18,
        base_channels=64,
        stem_channels=64,
        with_max_pool=False,
        with_stem_output=True,
        norm_cfg=norm_cfg,
    ),
    panoptic_head=dict(
        type='CMTPanopticHead',
        norm_cfg=norm_cfg,
        act_cfg=dict(type='GELU'),
        pixel_decoder=dict(
            type='AxialPixelDecoder',
            kinds=('axial', 'axial', 'bottleneck', 'bottleneck', 'bottleneck'),
            filters=(64, 64, 48, 32, 16),
            num_blocks=(1, 1, 1, 1, 1),
            dilations=(1, 1, 1, 1, 1),
        ),
        transformer_decoder=dict(
            type='CMTTransformerDecoder',
            num_centers=64,
            center_channels=128,
            layers_per_stage=(1, 1, 1),
            layer=dict(
                type='CMTLayer',
                hidden_channels=128,
                heads=4,
                key_channels=64,
                value_channels=128,
                ffn_channels=256,
            ),
        ),
        predictor=dict(
            type='CMTPredictor', hidden_channels=128, feature_channels=64, mask_gamma=2.0
        ),
        semantic_head=dict(
            type='PanopticSemanticHead', channels=64, fuse_channels=(32, 16), rates=(1, 2, 3)
        ),
    ),
    criterion=dict(
        type='PanopticCriterion',
        losses=[
            dict(type='PanopticPQLoss', loss_weight=3.0, weights_of='stage'),
            dict(type='PanopticMaskIDLoss', loss_weight=1.0),
            dict(type='PanopticInstanceDiscriminationLoss', loss_weight=1.0, num_samples=512),
            dict(type='PanopticSemanticLoss', loss_weight=1.0, num_samples=512),
            dict(type='PanopticReferencePointLoss', loss_weight=1.0),
        ],
    ),
    postprocess=dict(type='PanopticMaskWiseMerge'),
)
