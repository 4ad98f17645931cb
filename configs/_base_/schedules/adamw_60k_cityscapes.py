"""deeplab2's recipe of kMaX-DeepLab on Cityscapes: AdamW at 3e-4 over 60k iterations of 32 images.

The rest is that of adamw_150k.py. Source: deeplab2 ``configs/cityscapes/kmax_deeplab``.
"""

_base_ = './adamw_150k.py'
optim_wrapper = dict(optimizer=dict(lr=3e-4))
train_cfg = dict(max_iters=60000)
auto_scale_lr = dict(base_batch_size=32)
