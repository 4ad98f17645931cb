"""The recipe of adamw_150k.py over 200k iterations, as for the larger backbones."""

_base_ = './adamw_150k.py'
max_iters = 200000
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 5000, by_epoch=False, begin=0, end=5000),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
