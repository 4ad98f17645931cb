"""MaX-DeepLab's recipe (deeplab2 code): Adam 1e-3 without decay, backbone x0.1, 5k warm-up times poly 0.9 over 100k iterations, batch 64.

deeplab2 also reports 200k and 400k iterations: set max_iters, train_cfg.max_iters and the end of the second scheduler.
"""

_base_ = './adamw_150k.py'
max_iters = 100000
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 5000, by_epoch=False, begin=0, end=5000),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
