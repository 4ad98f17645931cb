"""The recipe of adamw_150k.py for Cityscapes: 60k iterations, batch 32 (deeplab2 code)."""
_base_ = './adamw_150k.py'
max_iters = 60000
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 5000, by_epoch=False, begin=0, end=5000),
    dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=0, end=max_iters)
]
train_cfg = dict(max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=32)
