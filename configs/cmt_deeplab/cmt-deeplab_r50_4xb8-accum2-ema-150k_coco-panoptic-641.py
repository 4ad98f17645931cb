"""CMT-DeepLab R50 on half the GPUs: two iterations per optimizer step, EMA, TensorBoard.

    bash tools/dist_train.sh \
        configs/cmt_deeplab/cmt-deeplab_r50_4xb8-accum2-ema-150k_coco-panoptic-641.py 4 --amp
Hardware: 4 GPUs, 8 images each. Cost: 300k iterations of 32 images.
Expected PQ: not published, not trained by us.
Validation, testing and the saved weights are an exponential moving average (EMA) of the trained
weights; curves for TensorBoard stand beside the local log.
"""

_base_ = './cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [dict(type='PanopticWarmupPolyLR', warmup=10000, by_epoch=False)]
train_cfg = dict(max_iters=300000, val_interval=10000)  # iterations: 150k optimizer steps
default_hooks = dict(checkpoint=dict(interval=10000))
custom_hooks = [
    dict(
        type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49
    )
]
visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
