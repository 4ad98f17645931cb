"""The images of coco27_panoptic.py for mmdet's own models, masks made at the end."""

_base_ = './coco27_panoptic.py'
to_masks = [dict(type='IndexMapToMasks'), dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize', size=_base_.image_size),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=[*_base_.augment, *to_masks]))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
