"""The recipe of adamw_150k.py over 200k iterations, for CMT-DeepLab with axial backbones.

The first three stages of their pixel decoder are the backbone's stage 5. They are pretrained as the
backbone is, and learn at its rate.
"""

_base_ = './adamw_150k.py'
stage5 = {f'pixel_decoder.blocks.{i}.': dict(lr_mult=0.1) for i in range(3)}
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=stage5))
train_cfg = dict(max_iters=200000)
