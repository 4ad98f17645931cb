"""What `bash tools/quickstart.sh` trains: the best tiny CMT-DeepLab that we found for ten minutes.

    python tools/misc/make_shapes.py data/shapes
    python tools/train.py configs/cmt_deeplab/cmt-deeplab_tiny-quickstart_shapes.py
Hardware: 2 CPU cores, about 10 minutes. Expected PQ on 100 scenes of 96x96: see
docs/measurements.md.

It has no reference mask and no coordinate convolution, which cost PQ in four of five seeds at this
size (docs/study.md), a higher learning rate, and more iterations.
"""

_base_ = './cmt-deeplab_tiny_shapes.py'
model = dict(
    panoptic_head=dict(
        transformer_decoder=dict(layer=dict(reference_mask=False, coordinate_conv=False))
    ),
    criterion=dict(losses=dict(reference_points=None)),
)
optim_wrapper = dict(optimizer=dict(lr=8e-3))
train_cfg = dict(max_iters=4000, val_interval=1000)
