"""ADE20K panoptic with 100 things and 50 stuff classes, read as segment-index planes.

`python tools/dataset_converters/ade20k_panoptic.py data/ADEChallengeData2016` makes the panoptic
files, where mmdet expects them too:
    data/ADEChallengeData2016/images/{training,validation}/*.jpg
    data/ADEChallengeData2016/ade20k_panoptic_{train,val}{.json,/*.png}

Training scales an image by 0.5 to 2.0 (bytedance/kmax-deeplab ``configs/ade20k``), with the colors
of ``wide_pipeline``; copy-paste is ours. ``image_size`` and ``for_model`` are those of
coco_panoptic_index.py.
"""

_base_ = './coco_panoptic_index.py'
dataset_type = 'ADE20KPanopticIndexDataset'
data_root = 'data/ADEChallengeData2016/'
num_things_classes = 100
num_stuff_classes = 50
image_size = (1281, 1281)
for_model = dict(
    num_things_classes=num_things_classes,
    num_stuff_classes=num_stuff_classes,
    data_preprocessor=dict(size=image_size),
)

load_and_jitter = [
    *_base_.load,
    dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 2.0)),
    *_base_.wide_jitter[-2:],
]
train_pipeline = [*load_and_jitter, _base_.pack]
copy_paste_pipeline = [
    *load_and_jitter,
    dict(type='PanopticCopyPaste', pipeline=load_and_jitter),
    _base_.pack,
]

common = dict(type=dataset_type, data_root=data_root, image_size=image_size)
train_dataloader = dict(
    dataset=dict(
        ann_file='ade20k_panoptic_train.json',
        data_prefix=dict(img='images/training/', seg='ade20k_panoptic_train/'),
        pipeline=copy_paste_pipeline,
        **common,
    )
)
val_dataloader = dict(
    dataset=dict(
        ann_file='ade20k_panoptic_val.json',
        data_prefix=dict(img='images/validation/', seg='ade20k_panoptic_val/'),
        **common,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(
    ann_file=data_root + 'ade20k_panoptic_val.json', seg_prefix=data_root + 'ade20k_panoptic_val/'
)
test_evaluator = val_evaluator
