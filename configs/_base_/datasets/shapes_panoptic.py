"""Generated scenes (`python tools/misc/make_shapes.py`): 6 things told by outline, 5 stuff classes told by texture, 96x96 pixels.

image_size is (height, width). A leaf with another size says so to its users, in lines that can be copied:
    image_size = (128, 128)
    train_dataloader = dict(dataset=dict(image_size=image_size))
    val_dataloader = dict(dataset=dict(image_size=image_size))
    test_dataloader = val_dataloader
    model = dict(data_preprocessor=dict(size=image_size))
"""

dataset_type = 'ShapesPanopticDataset'
data_root = 'data/shapes/'
num_things_classes = 6
num_stuff_classes = 5
image_size = (96, 96)

train_pipeline = [  # no jitter of the scale: the generator draws every size already
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PanopticRandomFlip', prob=0.5),
    dict(type='PackPanopticInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PackPanopticInputs', crowd_as_void=False),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
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
    batch_size=8,
    num_workers=1,
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
