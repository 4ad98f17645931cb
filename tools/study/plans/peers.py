"""MaskFormer and Mask2Former of mmdet beside the MaX, CMT and kMaX layers, in equal time.

    python tools/study/run.py tools/study/plans/peers.py
Cost: 15 runs of about 6 minutes of one core. The rows of the layers are those of layers.py; their
lines in peers.jsonl were copied from layers.jsonl, since equal configs give equal runs.
All have the backbone, the number of centers, the data and the batch of the config; losses,
matching and merge of the two peers are mmdet's. The learning rates are the best of tuning.py.
"""

_base_ = './layers.py'

seeds = 3
baseline = 'CMT without location'

# With these numbers of iterations, a run takes about as many CPU seconds as one of layers.py.
rows = [
    *(row for row in _base_.rows if row['name'] in ('MaX', 'CMT without location', 'kMaX')),
    dict(name='Mask2Former', config='configs/peers/mask2former_tiny_shapes.py', iterations=2200),
    dict(name='MaskFormer', config='configs/peers/maskformer_tiny_shapes.py', iterations=2800),
]
