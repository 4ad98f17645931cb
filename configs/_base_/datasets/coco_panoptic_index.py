"""COCO panoptic as mmdet's users lay it out, read as segment-index planes: 80 things, 53 stuff classes.

data/coco/{train,val}2017/*.jpg, data/coco/annotations/panoptic_{train,val}2017{.json,/*.png}

image_size is (height, width) of the training crop and of the box that test images are fitted into. A leaf with another size:
    image_size = (1281, 1281)
    train_dataloader = dict(dataset=dict(image_size=image_size))
    val_dataloader = dict(dataset=dict(image_size=image_size))
    test_dataloader = val_dataloader
    model = dict(data_preprocessor=dict(size=image_size))
With panoptic copy-paste:
    train_dataloader = dict(dataset=dict(pipeline={{_base_.copy_paste_pipeline}}))
Another data set of the same format: data_root, and metainfo=dict(thing_classes=..., stuff_classes=...) or none to take the categories of
the annotation file, in the three dataset dicts; num_things_classes and num_stuff_classes here.
"""

dataset_type = 'PanopticIndexDataset'
data_root = 'data/coco/'
num_things_classes = 80
num_stuff_classes = 53
image_size = (641, 641)

load_and_jitter = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PanopticLargeScaleJitter', scale_range=(0.3, 1.7)),
    dict(type='PanopticRandomFlip', prob=0.5),
]
color_and_pack = [dict(type='PanopticColorJitter'), dict(type='PackPanopticInputs')]
train_pipeline = [*load_and_jitter, *color_and_pack]
copy_paste_pipeline = [
    *load_and_jitter,
    dict(type='PanopticCopyPaste', prob=0.5, pipeline=load_and_jitter),
    *color_and_pack,
]
# The truth of an evaluation stays at the original size: it is loaded after the resize.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PackPanopticInputs', crowd_as_void=False),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        image_size=image_size,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_val2017.json',
        data_prefix=dict(img='val2017/', seg='annotations/panoptic_val2017/'),
        image_size=image_size,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='PanopticQualityMetric',
    ann_file=data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=data_root + 'annotations/panoptic_val2017/',
)
test_evaluator = val_evaluator
