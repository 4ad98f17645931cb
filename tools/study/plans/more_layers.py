"""Four and six layers in place of two: does the gain of the clustering layers add up?

    python tools/study/run.py tools/study/plans/more_layers.py
Cost: 30 runs of about 15 minutes of one core.
The network is that of layers.py with two or three layers at each of strides 16 and 8.
"""

_base_ = './layers.py'

seeds = 3
baseline = 'MaX, 4 layers'
rows = [
    dict(
        name=f'{row["name"]}, {2 * each} layers',
        options={
            **row['options'],
            'model.panoptic_head.transformer_decoder.layers_per_stage': (each, each),
        },
    )
    for each in (2, 3)
    for row in _base_.rows
]
