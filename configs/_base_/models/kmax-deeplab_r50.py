"""kMaX-DeepLab with a ResNet-50, in the form of the PyTorch code (bytedance/kmax-deeplab).

The TensorFlow code (deeplab2) has the same parameters in another network; weights of the one fail
in the other. kmax-deeplab_r50-tf.py is that form. It changes what may be changed one by one:
    backbone.with_max_pool=False           no max pooling, the first block of stage 2 has the stride
    backbone.pre_activation_outputs=True   the pixel decoder and the semantic head read the stages
                                           before their last activation
    semantic_head.skip_act_cfg             ... but for the two skips of the semantic head
    pixel_decoder.dilations=(1, 1, 2, 2)   of the 3x3 convolutions at strides 8 and 4
    postprocess                            the merges of the two code bases differ
56,580,120 parameters with COCO's classes, without the semantic head (15,856,742), which only
trains. Sources: bytedance/kmax-deeplab ``configs/coco/panoptic_segmentation/kmax_r50.yaml``,
``config.py`` and ``kmax_model.py``: its merge has no minimum areas and resizes twice.
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
        with_max_pool=True,
        pre_activation_outputs=False,
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
            dilations=(1, 1, 1, 1),
            drop_path=0.0,
        ),
        transformer_decoder=dict(
            type='CMTTransformerDecoder',
            num_centers=128,
            layers_per_stage=(2, 2, 2),
            layer=dict(type='KMaXLayer', drop_path=0.2),
        ),
        predictor=dict(type='CMTPredictor', mask_gamma=0.1),
        semantic_head=dict(type='PanopticSemanticHead'),
    ),
    criterion=dict(
        type='PanopticCriterion',
        resize_to_final=True,
        losses=dict(
            pq=dict(type='PanopticPQLoss', loss_weight=3.0, unmatched_weight='void_share'),
            mask_id=dict(type='PanopticMaskIDLoss', loss_weight=0.3),
            discrimination=dict(type='PanopticInstanceDiscriminationLoss', loss_weight=1.0),
            semantic=dict(type='PanopticSemanticLoss', loss_weight=1.0),
        ),
    ),
    postprocess=dict(
        type='PanopticMaskWiseMerge',
        strict_class_threshold=True,
        two_step_resize=True,
        thing_area=0,
        stuff_area=0,
    ),
)
