"""A CMT-DeepLab small enough for a unit test, with every part of the large one."""

from copy import deepcopy

from mmdet.registry import MODELS

NORM = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)

SMALL = dict(
    type='CMTDeepLab',
    num_things_classes=3,
    num_stuff_classes=2,
    align_corners=True,
    data_preprocessor=dict(type='PanopticDataPreprocessor'),
    backbone=dict(type='PanopticResNet', depth=18, base_channels=8, stem_channels=8, norm_cfg=NORM),
    panoptic_head=dict(
        type='CMTPanopticHead',
        norm_cfg=NORM,
        pixel_decoder=dict(type='AxialPixelDecoder', filters=(8, 8, 8, 8), num_blocks=(1, 1, 1, 1)),
        transformer_decoder=dict(
            type='CMTTransformerDecoder',
            num_centers=16,
            center_channels=32,
            layers_per_stage=(1, 1, 1),
            layer=dict(
                type='CMTLayer',
                hidden_channels=32,
                heads=4,
                key_channels=16,
                value_channels=32,
                ffn_channels=32,
            ),
        ),
        predictor=dict(type='CMTPredictor', hidden_channels=32, feature_channels=16),
        semantic_head=dict(type='PanopticSemanticHead', channels=16, fuse_channels=(8, 8)),
    ),
    criterion=dict(type='PanopticCriterion'),
    postprocess=dict(type='PanopticMaskWiseMerge'),
)


def set_in(config: dict, path: str, value) -> None:
    """``set_in(cfg, 'a.b.c', v)`` sets cfg['a']['b']['c']."""
    *parents, last = path.split('.')
    for key in parents:
        config = config[key]
    config[last] = value


def small_config(**changes) -> dict:
    """The config with changes by dotted path, dots written as double underscores."""
    config = deepcopy(SMALL)
    for path, value in changes.items():
        set_in(config, path.replace('__', '.'), value)
    return config


def build_small(**changes):
    return MODELS.build(small_config(**changes))


# A model that is built in a fifth of a second, with every slot filled.
COMPLETE = small_config(
    backbone=dict(
        type='PanopticResNet',
        depth=18,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(0, 1),
        base_channels=8,
        stem_channels=8,
    ),
    panoptic_head__norm_cfg=None,
    panoptic_head__act_cfg=dict(type='ReLU'),
    panoptic_head__pixel_decoder=dict(
        type='AxialPixelDecoder',
        kinds=('bottleneck', 'bottleneck'),
        filters=(8, 8),
        num_blocks=(1, 1),
        dilations=(1, 1),
    ),
    panoptic_head__transformer_decoder__layers_per_stage=(1,),
    panoptic_head__semantic_head=dict(
        type='PanopticSemanticHead', channels=8, fuse=(1,), fuse_channels=(8,), rates=None
    ),
    criterion__assigner=dict(type='PanopticHungarianAssigner'),
    criterion__losses=dict(pq=dict(type='PanopticPQLoss')),
)
