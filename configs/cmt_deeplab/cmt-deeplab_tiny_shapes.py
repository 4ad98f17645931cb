"""CMT-DeepLab small enough for a CPU, on generated scenes.

    python tools/misc/make_shapes.py data/shapes
    python tools/train.py configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py
Hardware: 2 CPU cores, about 6 minutes. Expected PQ on 100 scenes of 96x96: see
docs/measurements.md.
"""

_base_ = [
    '../_base_/models/cmt-deeplab_tiny.py',
    '../_base_/datasets/shapes_panoptic.py',
    '../_base_/schedules/adamw_short.py',
    '../_base_/default_runtime.py',
]
model = dict(_base_.for_model, postprocess=dict(thing_threshold=0.3, stuff_threshold=0.3))
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_iters=2500)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=500))
