"""Cityscapes panoptic as cityscapesScripts lays it out, read as segment-index planes: 8 things, 11 stuff classes.

data/cityscapes/leftImg8bit/{train,val}/CITY/*.png, data/cityscapes/gtFine/cityscapes_panoptic_{train,val}{.json,/*.png}
(pip install cityscapesscripts; CITYSCAPES_DATASET=data/cityscapes csCreatePanopticImgs)

Images of 1024x2048 go into the network as they are, padded to image_size.
"""

_base_ = './coco_panoptic_index.py'
dataset_type = 'CityscapesPanopticIndexDataset'
data_root = 'data/cityscapes/'
num_things_classes = 8
num_stuff_classes = 11
image_size = (1025, 2049)

load_and_jitter = [
    *_base_.load_and_jitter[:2],
    dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 2.0)),
    _base_.load_and_jitter[3],
]
train_pipeline = [*load_and_jitter, *_base_.color_and_pack]
copy_paste_pipeline = [
    *load_and_jitter,
    dict(type='PanopticCopyPaste', prob=0.5, pipeline=load_and_jitter),
    *_base_.color_and_pack,
]
test_pipeline = [_base_.test_pipeline[0], *_base_.test_pipeline[2:]]

common = dict(type=dataset_type, data_root=data_root, image_size=image_size)
train_dataloader = dict(
    dataset=dict(
        ann_file='gtFine/cityscapes_panoptic_train.json',
        data_prefix=dict(img='leftImg8bit/train/', seg='gtFine/cityscapes_panoptic_train/'),
        pipeline=train_pipeline,
        **common,
    )
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
