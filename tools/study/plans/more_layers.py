"""Four and six layers in place of two: does the gain of the clustering layers add up?

    python tools/study/run.py tools/study/plans/more_layers.py
Cost: 24 runs of about 15 minutes of one core.
The network is that of the quickstart with two or three layers at each of strides 16 and 8.
"""

config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=2000, num_val=100)
iterations = 2500
baseline = 'MaX, 4 layers'
rows = [
    dict(
        name=f'{name}, {2 * each} layers',
        options=dict(
            model=dict(
                panoptic_head=dict(
                    transformer_decoder=dict(layer=layer, layers_per_stage=(each, each))
                ),
                criterion={} if name == 'CMT' else dict(losses=dict(reference_points=None)),
            )
        ),
    )
    for each in (2, 3)
    for name, layer in {
        'MaX': dict(type='MaXLayer'),
        'CMT': {},
        'CMT without location': dict(reference_mask=False, coordinate_conv=False),
        'kMaX': dict(type='KMaXLayer'),
    }.items()
]
