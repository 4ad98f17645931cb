"""deeplab2's recipe of MaX-DeepLab-S on COCO: Adam at 1e-3 without decay over 100k iterations.

Batch 64, backbone at a tenth of the rate, warm-up over 5k iterations, then polynomial decay. The
blocks of stage 5 are pretrained as the backbone is, and learn at its rate. deeplab2 also reports
200k and 400k iterations: `--cfg-options train_cfg.max_iters=200000`. Source: deeplab2
``configs/coco/max_deeplab``.
"""

_base_ = './adamw_150k.py'
stage5 = {f'pixel_decoder.blocks.{i}.': dict(lr_mult=0.1) for i in range(3)}
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Adam', lr=1e-3, eps=1e-7),
    paramwise_cfg=dict(custom_keys=stage5),
)
train_cfg = dict(max_iters=100000)
