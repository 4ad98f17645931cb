"""The COCO data of coco_panoptic_index.py for mmdet's own models.

Files, index planes and transforms are the same, without copy-paste; masks are made at the very end.
Test images carry no ground truth: the metric reads the panoptic PNG of each image. Sides are
multiples of 32, as mmdet's models want them.
"""

_base_ = './coco_panoptic_index.py'
image_size = (1024, 1024)
train_pipeline = [*_base_.load_and_jitter, dict(type='IndexMapToMasks'), dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize', size=image_size),
    dict(type='PackDetInputs'),
]

train_dataloader = dict(
    batch_size=2, num_workers=2, dataset=dict(image_size=image_size, pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(image_size=image_size, pipeline=test_pipeline))
test_dataloader = val_dataloader
