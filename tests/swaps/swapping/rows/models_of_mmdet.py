"""mmdet's models on our data, metric and engine, and our parts inside of them."""

from functools import partial

from ..row import Row

theirs = partial(Row, "mmdet's models with our parts", base='mask2former')

models = partial(
    Row,
    "mmdet's models with our data, schedule, engine and metric",
    base=None,
    changes='',
    learns=('panoptic_head',),  # the backbone keeps mmdet's frozen norms without their weights
)


def panoptic(text: str) -> str:
    return f'\nmodel = dict({text})\n'


def evaluator(kind: str) -> str:
    return f"""
val_evaluator = dict(_delete_=True, type='{kind}',
                     ann_file='data/shapes/annotations/panoptic_val2017.json',
                     seg_prefix='data/shapes/annotations/panoptic_val2017/')
test_evaluator = val_evaluator
"""


def whole(config: str) -> str:
    """A leaf that takes the model of a config of mmdet and our data, schedule and engine."""
    return f"""
_base_ = [
    'configs/_base_/datasets/shapes_panoptic_masks.py', 'configs/_base_/schedules/mmdet.py',
    'configs/_base_/default_runtime.py']
from cmt_deeplab.mmdet_config import mmdet_config

source = mmdet_config(
    'mmdet::{config}',
    _base_, max_iters=20000)
model, optim_wrapper = source.model, source.optim_wrapper
param_scheduler = source.param_scheduler
train_cfg = dict(max_iters=2, val_interval=2)  # of 20000
model.backbone.init_cfg = None
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
del source
"""


ROWS = [
    models('Mask2Former', whole('mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py')),
    models('Mask2Former for instances', whole('mask2former/mask2former_r50_8xb2-lsj-50e_coco.py')),
    models('MaskFormer', whole('maskformer/maskformer_r50_ms-16xb1-75e_coco.py')),
    models(
        'Panoptic FPN',
        whole('panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py'),
        refused='compiled operator',
        late=True,
    ),
    models(
        'Mask R-CNN, an instance model',
        whole('mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'),
        refused='MaskRCNN does not predict',
    ),
    models(
        'DETR, a model of boxes',
        whole('detr/detr_r50_8xb2-150e_coco.py'),
        refused='DETR does not predict',
    ),
    theirs(
        "mmengine's DefaultOptimWrapperConstructor",
        """
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
""",
    ),
    theirs(
        'our merge as the fusion head',
        panoptic(
            "panoptic_fusion_head=dict(\n    _delete_=True, type='PanopticMaskWiseMerge', "
            'num_things_classes=6, num_stuff_classes=5)'
        ),
        refused='does not fit there',
    ),
    theirs('CocoPanopticMetric', evaluator('CocoPanopticMetric'), changes=''),
    theirs('PanopticResNet', panoptic("backbone=dict(type='PanopticResNet')")),
    theirs(
        'PanopticResNet with PanopticSyncBN',
        panoptic(
            "backbone=dict(\n    type='PanopticResNet', norm_eval=False,\n"
            "    norm_cfg=dict(type='PanopticSyncBN'))"
        ),
    ),
    theirs(
        'AxialResNet',
        panoptic("""
    backbone=dict(
        _delete_=True, type='AxialResNet', num_blocks=(1, 1, 2, 1), width=0.25, drop_path=0.0,
        out_indices=(0, 1, 2)),
    panoptic_head=dict(in_channels=[64, 128, 256])"""),
    ),
    theirs(
        'TimmBackbone',
        panoptic("""
    backbone=dict(_delete_=True, type='TimmBackbone', model_name='convnext_atto',
        out_indices=(0, 1, 2)),
    panoptic_head=dict(in_channels=[40, 80, 160])"""),
    ),
    theirs(
        'PanopticSwinTransformer',
        panoptic("""
    backbone=dict(
        _delete_=True, type='PanopticSwinTransformer', embed_dims=24, depths=(2, 2, 2),
        num_heads=(2, 4, 8), strides=(4, 2, 2), out_indices=(0, 1, 2)),
    panoptic_head=dict(in_channels=[24, 48, 96])"""),
    ),
    theirs(
        'PanopticLayerNorm',
        panoptic(
            'panoptic_head=dict(pixel_decoder=dict(norm_cfg=dict(\n'
            "    _delete_=True, type='PanopticLayerNorm')))"
        ),
    ),
    theirs(
        'PanopticColorJitter',
        """
train_pipeline = [
    *_base_.load, dict(type='PanopticColorJitter'), _base_.flip, dict(type='IndexMapToMasks'),
    dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
        colors=True,
    ),
    theirs(
        'PanopticCopyPaste',
        """
train_pipeline = [
    *_base_.load, _base_.flip,
    dict(type='PanopticCopyPaste', pipeline=[*_base_.load, _base_.flip]),
    dict(type='IndexMapToMasks'), dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
    ),
    theirs(
        "mmdet's transforms, plane included",
        """
train_pipeline = [
    *_base_.load,
    dict(type='PanopticGeometricTransforms', transforms=[
        dict(type='RandomFlip', prob=0.5), dict(type='Rotate', prob=0.5)]),
    dict(type='IndexMapToMasks'), dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
    ),
    theirs(
        "mmdet's RandomFlip on the plane",
        """
train_pipeline = [
    *_base_.load, dict(type='RandomFlip', prob=0.5), dict(type='IndexMapToMasks'),
    dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
        refused='RandomFlip',
    ),
    theirs(
        "mmdet's RandomFlip on masks",
        """
train_pipeline = [
    *_base_.load, dict(type='IndexMapToMasks'), dict(type='RandomFlip', prob=1.0),
    dict(type='PackDetInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
""",
    ),
    theirs(
        'AspectRatioBatchSampler',
        """
train_dataloader = dict(batch_sampler=dict(type='AspectRatioBatchSampler'))
""",
    ),
    theirs('PanopticAmpOptimWrapper', '', arguments=('--amp',)),
    theirs(
        'IterBasedTrainLoop', "\ntrain_cfg = dict(type='IterBasedTrainLoop')\n", changes='nothing'
    ),
    theirs("mmengine's Runner", "\nrunner_type = 'Runner'\n", changes='nothing'),
    theirs('EMAHook', "\ncustom_hooks = [dict(type='EMAHook', momentum=0.1)]\n", changes='nothing'),
    theirs(
        'NumClassCheckHook',
        "\ncustom_hooks = [dict(type='NumClassCheckHook')]\n",
        changes='nothing',
    ),
    theirs(
        'another number of classes',
        panoptic('panoptic_head=dict(num_things_classes=80)'),
        refused='num_things_classes',
    ),
    theirs(
        'PanopticDataPreprocessor',
        panoptic("""data_preprocessor=dict(
    _delete_=True, type='PanopticDataPreprocessor', align_corners=False, size=(96, 96))"""),
    ),
    theirs(
        'AxialPixelDecoder',
        panoptic("""panoptic_head=dict(pixel_decoder=dict(
    _delete_=True, type='AxialPixelDecoder'))"""),
        refused='panoptic_head',
    ),
]
