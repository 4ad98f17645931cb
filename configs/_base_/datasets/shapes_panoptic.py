"""Generated scenes of 96x96 pixels: 6 things told by outline, 5 stuff classes told by texture.

`python tools/misc/make_shapes.py data/shapes` makes them, in COCO's format. To change
``image_size`` (height, width), a config repeats it in these lines:
    image_size = (128, 128)
    train_dataloader = dict(dataset=dict(image_size=image_size))
    val_dataloader = dict(dataset=dict(image_size=image_size))
    test_dataloader = val_dataloader
    model = dict(data_preprocessor=dict(size=image_size))
The scale is not jittered, since the generator draws every size already.
"""

_base_ = './coco_panoptic_index.py'
dataset_type = 'ShapesPanopticDataset'
data_root = 'data/shapes/'
num_things_classes = 6
num_stuff_classes = 5
image_size = (96, 96)
for_model = dict(
    num_things_classes=num_things_classes,
    num_stuff_classes=num_stuff_classes,
    data_preprocessor=dict(size=image_size),
)
train_pipeline = [*_base_.load, _base_.flip, _base_.pack]
scenes = dict(type=dataset_type, data_root=data_root, image_size=image_size)
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline, **scenes))
val_dataloader = dict(batch_size=8, num_workers=1, dataset=scenes)
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + 'annotations/panoptic_val2017.json',
    seg_prefix=data_root + 'annotations/panoptic_val2017/',
)
test_evaluator = val_evaluator
