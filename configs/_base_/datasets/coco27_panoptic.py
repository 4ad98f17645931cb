"""A subset of COCO in 27 super-categories, 12 things and 15 stuff, at 256x256: few images.

    python tools/misc/subset_panoptic.py data/coco/annotations/panoptic_{train,val}2017.json \
        data/coco27 --supercategories
makes it. Training takes the augmentation of own_panoptic.py.
"""

_base_ = './coco_panoptic_index.py'
data_root = 'data/coco27/'
num_things_classes = 12
num_stuff_classes = 15
image_size = (256, 256)
for_model = dict(
    num_things_classes=num_things_classes,
    num_stuff_classes=num_stuff_classes,
    data_preprocessor=dict(size=image_size),
)
jitter = [
    *_base_.load,
    dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 2.0)),
    *_base_.color_and_flip,
]
augment = [*jitter, dict(type='PanopticCopyPaste', pipeline=jitter, prob=0.5, bounded=True)]
images = dict(data_root=data_root, image_size=image_size)
train_dataloader = dict(
    batch_size=4, num_workers=1, dataset=dict(pipeline=[*augment, _base_.pack], **images)
)
val_dataloader = dict(num_workers=1, dataset=images)
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=data_root + 'annotations/panoptic_val2017/',
)
test_evaluator = val_evaluator
