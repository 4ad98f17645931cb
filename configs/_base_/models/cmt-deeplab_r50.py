"""CMT-DeepLab with a ResNet-50.

An axial pixel decoder, two CMT layers at each of strides 32, 16 and 8, and the final prediction at
stride 4. A leaf takes class counts and input size from its data by ``model = _base_.for_model``.
The losses are a dict by name: a leaf changes the one that it names, or switches it off by None.
"""

norm_cfg = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)
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
        norm_cfg=norm_cfg,
        norm_eval=False,
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    panoptic_head=dict(
        type='CMTPanopticHead',
        norm_cfg=norm_cfg,
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
        losses=dict(
            pq=dict(type='PanopticPQLoss', loss_weight=3.0),
            mask_id=dict(type='PanopticMaskIDLoss', loss_weight=0.3),
            discrimination=dict(type='PanopticInstanceDiscriminationLoss', loss_weight=1.0),
            semantic=dict(type='PanopticSemanticLoss', loss_weight=1.0),
            reference_points=dict(type='PanopticReferencePointLoss', loss_weight=1.0),
        ),
    ),
    postprocess=dict(type='PanopticMaskWiseMerge'),
)
