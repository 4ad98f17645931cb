"""CMT-DeepLab small enough for a CPU, on generated scenes of 96x96 pixels: what `bash tools/quickstart.sh` trains.

    python tools/misc/make_shapes.py data/shapes && python tools/train.py configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py
Hardware: 2 CPU cores, about 10 minutes. Expected PQ: see docs/measurements.md.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_tiny.py',
    '../_base_/datasets/shapes_panoptic.py',
    '../_base_/schedules/adamw_short.py',
    '../_base_/default_runtime.py',
]
model = dict(
    num_things_classes=_base_.num_things_classes,
    num_stuff_classes=_base_.num_stuff_classes,
    data_preprocessor=dict(size=_base_.image_size),
    postprocess=dict(thing_threshold=0.3, stuff_threshold=0.3),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
max_iters = 2500
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=500, max_keep_ckpts=1))
