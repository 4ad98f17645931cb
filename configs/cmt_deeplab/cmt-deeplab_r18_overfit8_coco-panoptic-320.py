"""A ResNet-18 from scratch overfits eight images of COCO: a check that it can fit real scenes.

    python tools/train.py configs/cmt_deeplab/cmt-deeplab_r18_overfit8_coco-panoptic-320.py --amp
Hardware: 2 CPU cores, 45 to 70 minutes. Expected PQ on these eight images, the first of the
training set: see docs/measurements.md; it says nothing of any other image.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_r18.py',
    '../_base_/datasets/coco_panoptic_index.py',
    '../_base_/schedules/adamw_short.py',
    '../_base_/default_runtime.py',
]
image_size = (320, 320)
train_cfg = dict(max_iters=1000, val_interval=250)
model = dict(
    _base_.for_model,
    data_preprocessor=dict(size=image_size),
    postprocess=dict(thing_threshold=0.3, stuff_threshold=0.3, thing_area=0, stuff_area=0),
)
pipeline = [*_base_.load, dict(type='PanopticResize'), _base_.pack]
images = dict(image_size=image_size, indices=8)
train_dataloader = dict(batch_size=4, num_workers=2, dataset=dict(pipeline=pipeline, **images))
val_dataloader = dict(
    dataset=dict(
        ann_file=_base_.train_dataloader.dataset.ann_file,
        data_prefix=_base_.train_dataloader.dataset.data_prefix,
        **images,
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type='PanopticQualityMetric')
test_evaluator = val_evaluator
