"""(a) The layer alone, 2,500 iterations: MaX, CMT and kMaX layers in the quickstart's network.

    python tools/study/run.py tools/study/plans/layers.py
Cost: 20 runs of about 12 minutes of one core.
"""

title = 'The layer'
question = """\
Does the clustering layer pay? The network, the losses, the prediction after each layer, the merge,
the schedule and the data are those of the quickstart, without its clock; only the layer is
exchanged. Without location means without the reference mask, its loss, and the coordinate
convolution."""
config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=2000, num_val=100)
iterations = 2500
seeds = 5
baseline = 'MaX'
rows = [
    dict(
        name=name,
        options=dict(
            model=dict(
                panoptic_head=dict(transformer_decoder=dict(layer=layer)),
                criterion={} if name == 'CMT' else dict(losses=dict(reference_points=None)),
            )
        ),
    )
    for name, layer in {
        'MaX': dict(type='MaXLayer'),
        'CMT': {},
        'CMT without location': dict(reference_mask=False, coordinate_conv=False),
        'kMaX': dict(type='KMaXLayer'),
    }.items()
]
