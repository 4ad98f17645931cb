"""Cityscapes panoptic with 8 things and 11 stuff classes, read as segment-index planes.

`python tools/dataset_converters/cityscapes_panoptic.py data/cityscapes` makes the panoptic files,
and so does csCreatePanopticImgs of cityscapesScripts:
    data/cityscapes/leftImg8bit/{train,val}/CITY/*.png
    data/cityscapes/gtFine/cityscapes_panoptic_{train,val}{.json,/*.png}

Test images of 1024x2048 go into the network as they are, padded to ``image_size``. Training scales
an image by 0.5 to 2.0 in steps of 0.1 (deeplab2 ``configs/cityscapes/kmax_deeplab``). ``for_model``
and the other pipelines are those of coco_panoptic_index.py.
"""

_base_ = './coco_panoptic_index.py'
dataset_type = 'CityscapesPanopticIndexDataset'
data_root = 'data/cityscapes/'
num_things_classes = 8
num_stuff_classes = 11
image_size = (1025, 2049)
for_model = dict(
    num_things_classes=num_things_classes,
    num_stuff_classes=num_stuff_classes,
    data_preprocessor=dict(size=image_size),
)

load_and_jitter = [
    *_base_.load,
    dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 2.0), scale_step=0.1),
    *_base_.color_and_flip,
]
train_pipeline = [*load_and_jitter, _base_.pack]
copy_paste_pipeline = [
    *load_and_jitter,
    dict(type='PanopticCopyPaste', pipeline=load_and_jitter),
    _base_.pack,
]
test_pipeline = [_base_.test_pipeline[0], *_base_.test_pipeline[2:]]
tta_pipeline = test_pipeline  # the augmented images are made in the model

common = dict(type=dataset_type, data_root=data_root, image_size=image_size)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        ann_file='gtFine/cityscapes_panoptic_train.json',
        data_prefix=dict(img='leftImg8bit/train/', seg='gtFine/cityscapes_panoptic_train/'),
        pipeline=copy_paste_pipeline,
        **common,
    ),
)
val_dataloader = dict(
    dataset=dict(
        ann_file='gtFine/cityscapes_panoptic_val.json',
        data_prefix=dict(img='leftImg8bit/val/', seg='gtFine/cityscapes_panoptic_val/'),
        pipeline=test_pipeline,
        **common,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'gtFine/cityscapes_panoptic_val.json',
    seg_prefix=data_root + 'gtFine/cityscapes_panoptic_val/',
)
test_evaluator = val_evaluator
