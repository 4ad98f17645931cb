"""Own data, tens to hundreds of images: AdamW at 2e-3, a tenth of it in the pretrained backbone.

Batches of 4 images; the rest is that of adamw_short.py.
"""

_base_ = './adamw_short.py'
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))))
auto_scale_lr = dict(base_batch_size=4)
