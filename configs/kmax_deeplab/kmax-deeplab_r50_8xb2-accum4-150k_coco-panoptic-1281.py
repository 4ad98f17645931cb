"""kMaX-DeepLab R50 (PyTorch form) on GPUs of 24 GB: crop 1281, four iterations per step.

    bash tools/dist_train.sh \
        configs/kmax_deeplab/kmax-deeplab_r50_8xb2-accum4-150k_coco-panoptic-1281.py 8 --amp
Hardware: 8 GPUs of 24 GB, 2 images each. Cost: 600k iterations of 16 images, 9.6 million images at
292.0 GMACs forward (tools/analysis_tools/get_flops.py).
Expected PQ on COCO val: 53.0 (deeplab2) and 53.3 (bytedance/kmax-deeplab). Not trained by us.
A step of the optimizer is 64 images, as in the recipe with 8 images per GPU; batch statistics are
those of 16.
"""

_base_ = './kmax-deeplab_r50_8xb8-150k_coco-panoptic-1281.py'
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(accumulative_counts=4)
param_scheduler = [
    dict(type='PanopticWarmupPolyLR', start_factor=0.001, warmup=20000, by_epoch=False)
]
train_cfg = dict(max_iters=600000, val_interval=20000)  # iterations: 150k optimizer steps
default_hooks = dict(checkpoint=dict(interval=20000))
