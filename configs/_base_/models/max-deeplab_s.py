"""MaX-DeepLab-S: ResNet-50 with axial attention and MaX layers in the last stage.

The backbone ends with stage 4. Stage 5, whose blocks alternate with MaX layers, is the pixel
decoder's first stages: its three blocks, one more ('extra' in deeplab2, not pretrained), all at
stride 16, then one bottleneck at each of strides 8 and 4. Only the last layer predicts. The
auxiliary semantic head reads the end of stage 5 and the activated strides 8 and 4. Losses and merge
are those of the released code: instance discrimination per mask, the semantic loss of all pixels,
the merge per pixel. 61,900,200 parameters with COCO's classes, without the semantic head
(15,856,742). Sources: deeplab2 ``axial_resnet_instances.py``, ``max_deeplab.py``,
``configs/coco/max_deeplab``.
"""

norm_cfg = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)
act_cfg = dict(type='ReLU')
model = dict(
    type='CMTDeepLab',
    align_corners=True,
    data_preprocessor=dict(type='PanopticDataPreprocessor'),
    backbone=dict(
        type='AxialResNet',
        num_blocks=(3, 4, 6, 3),
        output_stride=16,
        out_indices=(0, 1, 2),
        pre_activation_outputs=True,
        drop_path=0.2,
        drop_path_schedule='linear',
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    ),
    panoptic_head=dict(
        type='CMTPanopticHead',
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
        pixel_decoder=dict(
            type='MaXPixelDecoder',
            in_strides=(4, 8, 16),
            kinds=('axial', 'axial', 'axial', 'axial', 'bottleneck', 'bottleneck'),
            filters=(512, 512, 512, 512, 128, 64),
            num_blocks=(1, 1, 1, 1, 1, 1),
            strides=(16, 16, 16, 16, 8, 4),
            drop_path=(0.15, 0.2, 0.2, 0.2, 0.0, 0.0),
        ),
        transformer_decoder=dict(
            type='CMTTransformerDecoder',
            num_centers=128,
            layers_per_stage=(1, 1, 1, 1),
            deep_supervision=False,
            layer=[dict(type='MaXLayer', drop_path=rate) for rate in (0.15, 0.2, 0.2, 0.2)],
        ),
        predictor=dict(type='CMTPredictor', mask_gamma=0.1),
        semantic_head=dict(
            type='PanopticSemanticHead', coarsest_act_cfg=act_cfg, skip_act_cfg=act_cfg
        ),
        semantic_stage=2,
    ),
    criterion=dict(
        type='PanopticCriterion',
        resize_to_final=True,
        losses=dict(
            pq=dict(type='PanopticPQLoss', loss_weight=3.0, unmatched_weight='void_share'),
            mask_id=dict(type='PanopticMaskIDLoss', loss_weight=0.3),
            discrimination=dict(type='PanopticMaskDiscriminationLoss', loss_weight=1.0),
            semantic=dict(type='PanopticSemanticLoss', loss_weight=1.0, num_samples=None),
        ),
    ),
    postprocess=dict(type='PanopticPixelWiseMerge', pixel_threshold=0.4, class_threshold=0.7),
)
