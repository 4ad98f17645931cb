"""The generated scenes of shapes_panoptic.py for mmdet's own models, masks made at the end.

Planes and transforms are the same. Test images carry no ground truth: the metric reads the panoptic
PNG of each image.
"""

_base_ = './shapes_panoptic.py'
train_pipeline = [
    *_base_.load,
    _base_.flip,
    dict(type='IndexMapToMasks'),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize', size=_base_.image_size),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
