"""The COCO data of coco_panoptic_index.py for mmdet's own models: the same files, index planes and transforms, masks made at the very end.

Test images carry no ground truth: the metric reads the panoptic PNG of each image. Sides are of mmdet's kind, multiples of 32.
"""

_base_ = './coco_panoptic_index.py'
image_size = (1024, 1024)
to_masks = [dict(type='IndexMapToMasks'), dict(type='PackDetInputs')]
train_pipeline = [*_base_.load_and_jitter, dict(type='PanopticColorJitter'), *to_masks]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize', size=image_size),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(dataset=dict(image_size=image_size, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(image_size=image_size, pipeline=test_pipeline))
test_dataloader = val_dataloader
