"""deeplab2's recipe of kMaX-DeepLab on COCO: AdamW over 150k iterations of 64 images.

Learning rate 5e-4, a tenth of it in the backbone, linear warm-up over 5k iterations, then
polynomial decay of power 0.9; weight decay 0.05 on kernels; Adam's epsilon 1e-7, Keras' default.
Source: deeplab2 ``configs/coco/kmax_deeplab``.

The decay ends with ``train_cfg.max_iters``, so another length is one number. On the command line:
    --auto-scale-lr                                          fewer images per step
    --cfg-options optim_wrapper.accumulative_counts=N        N iterations make an optimizer step
    --amp                                                    mixed precision, float16 on a GPU
    --amp --cfg-options optim_wrapper.dtype=bfloat16         the same in bfloat16
"""

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05, eps=1e-7),
    constructor='PanopticOptimWrapperConstructor',
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
)
param_scheduler = [dict(type='PanopticWarmupPolyLR', by_epoch=False)]
train_cfg = dict(type='PanopticIterBasedTrainLoop', max_iters=150000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=64)
