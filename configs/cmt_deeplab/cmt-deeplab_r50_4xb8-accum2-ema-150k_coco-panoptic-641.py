"""CMT-DeepLab R50 on half the GPUs: two iterations an optimizer step, weights averaged (EMA), curves for TensorBoard.

    bash tools/dist_train.sh configs/cmt_deeplab/cmt-deeplab_r50_4xb8-accum2-ema-150k_coco-panoptic-641.py 4 --amp
Hardware: 4 GPUs, 8 images each. Cost: 300k iterations of 32 images. Expected PQ: not published, not trained by us.
"""

_base_ = ['./cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py', '../_base_/schedules/ema.py']
max_iters = 300000  # iterations: 150k optimizer steps
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 10000, by_epoch=False, begin=0, end=10000),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=10000)
default_hooks = dict(checkpoint=dict(interval=10000))
visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])
