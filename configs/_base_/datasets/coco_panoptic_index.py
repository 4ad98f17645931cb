"""COCO panoptic with 80 things and 53 stuff classes, read as segment-index planes.

The files lie where mmdet's users have them:
    data/coco/{train,val}2017/*.jpg
    data/coco/annotations/panoptic_{train,val}2017{.json,/*.png}

``image_size`` is (height, width) of the training crop and of the box that test images are fitted
into. coco_panoptic_index_1025.py and coco_panoptic_index_1281.py are this file at those sizes: name
one of them in place of this one. A leaf of a leaf changes its size by these lines:
    image_size = (1281, 1281)
    train_dataloader = dict(dataset=dict(image_size=image_size))
    val_dataloader = dict(dataset=dict(image_size=image_size))
    test_dataloader = val_dataloader
    model = dict(data_preprocessor=dict(size=image_size))

``for_model`` is what a model must know of its data; a leaf says ``model = _base_.for_model``.

Four pipelines for training; a leaf takes one of the last three by
``train_dataloader = dict(dataset=dict(pipeline=_base_.max_pipeline))``:
    copy_paste_pipeline  the default: scales of deeplab2's kMaX-DeepLab, with copy-paste
    train_pipeline       the same without copy-paste
    wide_pipeline        scales and colors of kmax-deeplab (INPUT.MIN_SCALE and MAX_SCALE,
                         detectron2's ColorAugSSDTransform), with copy-paste
    max_pipeline         scales of deeplab2's MaX-DeepLab, neither colors nor copy-paste

Another data set of the same format: ``data_root``, and ``metainfo=dict(thing_classes=...,
stuff_classes=...)`` or none to take the categories of the annotation file, in the three dataset
dicts; ``num_things_classes`` and ``num_stuff_classes`` here.
"""

dataset_type = 'PanopticIndexDataset'
data_root = 'data/coco/'
num_things_classes = 80
num_stuff_classes = 53
image_size = (641, 641)
for_model = dict(
    num_things_classes=num_things_classes,
    num_stuff_classes=num_stuff_classes,
    data_preprocessor=dict(size=image_size),
)

load = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')]
flip = dict(type='PanopticRandomFlip', prob=0.5)
color_and_flip = [dict(type='PanopticColorJitter'), flip]
pack = dict(type='PackPanopticInputs')
load_and_jitter = [
    *load,
    dict(type='PanopticLargeScaleJitter', scale_range=(0.3, 1.7), scale_step=0.1),
    *color_and_flip,
]
wide_jitter = [
    *load,
    dict(type='PanopticLargeScaleJitter', scale_range=(0.2, 2.0)),
    dict(type='PanopticColorJitter', hue_delta=36),
    flip,
]
train_pipeline = [*load_and_jitter, pack]
copy_paste_pipeline = [
    *load_and_jitter,
    dict(type='PanopticCopyPaste', pipeline=load_and_jitter),
    pack,
]
wide_pipeline = [*wide_jitter, dict(type='PanopticCopyPaste', pipeline=wide_jitter), pack]
max_pipeline = [
    *load,
    dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 1.5), scale_step=0.1),
    flip,
    pack,
]
# The truth of an evaluation stays at the original size: it is loaded after the resize.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PackPanopticInputs', crowd_as_void=False),
]
tta_pipeline = test_pipeline  # the augmented images are made in the model

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/panoptic_train2017.json',
        data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'),
        image_size=image_size,
        pipeline=copy_paste_pipeline,
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
