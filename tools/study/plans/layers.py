"""The layer alone: MaX, CMT and kMaX layers in the network of cmt-deeplab_tiny_shapes.py.

Losses, prediction after each layer, merge, schedule and data are those of that config. Without
location means without reference mask, its loss, and coordinate convolution. The learning rates of
MaX, kMaX and CMT without location are the best of tuning.py; the other rows of CMT take that of
CMT without location.
    python tools/study/run.py tools/study/plans/layers.py
Cost: 25 runs of about 6 minutes of one core.
"""

config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=2000, num_val=100)
iterations = 2500
seeds = 5
baseline = 'MaX'
without_location = dict(reference_mask=False, coordinate_conv=False)
rows = [
    dict(
        name=name,
        options={
            'model': dict(
                panoptic_head=dict(transformer_decoder=dict(layer=layer)),
                criterion={} if name == 'CMT' else dict(losses=dict(reference_points=None)),
            ),
            'optim_wrapper.optimizer.lr': rate,
        },
    )
    for name, rate, layer in (
        ('MaX', 5e-3, dict(type='MaXLayer')),
        ('CMT', 8e-3, {}),
        ('CMT without location', 8e-3, without_location),
        ('CMT, no location, k-means', 8e-3, dict(without_location, assignment='kmeans')),
        ('kMaX', 5e-3, dict(type='KMaXLayer')),
    )
]
del without_location
