"""A ResNet-18 from scratch learns the first eight training images of COCO by heart: a check that the whole model can fit real scenes.

    python tools/train.py configs/cmt_deeplab/cmt-deeplab_r18_overfit8_coco-panoptic-320.py --amp
Hardware: 2 CPU cores, 45 to 70 minutes. Expected PQ on these eight images: see docs/measurements.md; it says nothing of any other image.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_r18.py',
    '../_base_/datasets/coco_panoptic_index.py',
    '../_base_/schedules/adamw_short.py',
    '../_base_/default_runtime.py',
]
image_size = (320, 320)
max_iters = 1000
train_cfg = dict(max_iters=max_iters, val_interval=250)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
model = dict(
    num_things_classes=_base_.num_things_classes,
    num_stuff_classes=_base_.num_stuff_classes,
    data_preprocessor=dict(size=image_size),
    postprocess=dict(thing_threshold=0.3, stuff_threshold=0.3, thing_area=0, stuff_area=0),
)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PanopticResize'),
    dict(type='PackPanopticInputs'),
]
train_dataloader = dict(
    batch_size=4, dataset=dict(image_size=image_size, indices=8, pipeline=pipeline)
)
train_set = {key: _base_.train_dataloader.dataset[key] for key in ('ann_file', 'data_prefix')}
val_dataloader = dict(dataset=dict(image_size=image_size, indices=8, **train_set))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='PanopticQualityMetric')
test_evaluator = val_evaluator
