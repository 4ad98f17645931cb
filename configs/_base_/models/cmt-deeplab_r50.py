"""CMT-DeepLab with a ResNet-50: axial pixel decoder, two CMT layers at each of strides 32, 16 and 8, final prediction at stride 4.

A leaf sets `data_preprocessor.size` through its data set's `image_size` and the class counts through its data set.
"""

model = dict(
    type='CMTDeepLab',
    align_corners=True,
    data_preprocessor=dict(type='PanopticDataPreprocessor'),
    backbone=dict(
        type='PanopticResNet',
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        style='pytorch',
        norm_cfg=dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01),
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    panoptic_head=dict(
        type='CMTPanopticHead',
        norm_cfg=dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01),
        act_cfg=dict(type='GELU'),
        pixel_decoder=dict(
            type='AxialPixelDecoder',
            kinds=('axial', 'axial', 'bottleneck', 'bottleneck'),
            filters=(512, 256, 128, 64),
            num_blocks=(1, 5, 1, 1),
            drop_path=0.2,
        ),
        transformer_decoder=dict(
            type='CMTTransformerDecoder',
            num_centers=128,
            layers_per_stage=(2, 2, 2),
            layer=dict(type='CMTLayer', drop_path=0.2),
        ),
        predictor=dict(type='CMTPredictor', mask_gamma=0.1),
        semantic_head=dict(type='PanopticSemanticHead'),
    ),
    criterion=dict(
        type='PanopticCriterion',
        losses=[
            dict(type='PanopticPQLoss', loss_weight=3.0),
            dict(type='PanopticMaskIDLoss', loss_weight=0.3),
            dict(type='PanopticInstanceDiscriminationLoss', loss_weight=1.0),
            dict(type='PanopticSemanticLoss', loss_weight=1.0),
            dict(type='PanopticReferencePointLoss', loss_weight=1.0),
        ],
    ),
    postprocess=dict(type='PanopticMaskWiseMerge'),
)
