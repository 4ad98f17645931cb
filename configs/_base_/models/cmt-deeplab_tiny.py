"""CMT-DeepLab for a CPU and images of about a hundred pixels: three stages of a narrow ResNet-18, two CMT layers at each of strides 16 and 8,
masks at stride 2.

Short schedules need mask logits that become confident soon: the scale of the mask logits starts at 2 and the mask-id loss weighs 1; and a
backbone that works from the first step: its residual branches start open.
"""
norm_cfg = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)
model = dict(
    type='CMTDeepLab',
    align_corners=False,
    data_preprocessor=dict(type='PanopticDataPreprocessor'),
    backbone=dict(
        type='PanopticResNet', depth=18, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), out_indices=(0, 1, 2), base_channels=24,
        stem_channels=24, with_max_pool=False, with_stem_output=True, zero_init_residual=False, norm_cfg=norm_cfg),
    panoptic_head=dict(
        type='CMTPanopticHead',
        norm_cfg=norm_cfg,
        act_cfg=dict(type='GELU'),
        pixel_decoder=dict(
            type='AxialPixelDecoder',
            kinds=('axial', 'bottleneck', 'bottleneck', 'bottleneck'),
            filters=(64, 32, 16, 8),
            num_blocks=(1, 1, 1, 1),
            dilations=(1, 1, 1, 1)),
        transformer_decoder=dict(
            type='CMTTransformerDecoder',
            num_centres=16,
            centre_channels=96,
            layers_per_stage=(2, 2),
            layer=dict(type='CMTLayer', hidden_channels=96, heads=4, key_channels=48, value_channels=96, ffn_channels=256)),
        predictor=dict(type='CMTPredictor', hidden_channels=64, feature_channels=64, mask_gamma=2.0),
        semantic_head=dict(type='PanopticSemanticHead', channels=64, fuse=(1, 2), fuse_channels=(32, 16), rates=(1, 2, 3))),
    criterion=dict(
        type='PanopticCriterion',
        losses=[
            dict(type='PanopticPQLoss', loss_weight=3.0),
            dict(type='PanopticMaskIDLoss', loss_weight=1.0),
            dict(type='PanopticInstanceDiscriminationLoss', loss_weight=1.0, num_samples=256),
            dict(type='PanopticSemanticLoss', loss_weight=1.0, num_samples=256),
            dict(type='PanopticReferencePointLoss', loss_weight=1.0),
        ]),
    postprocess=dict(type='PanopticMaskWiseMerge'))
