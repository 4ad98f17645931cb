"""kMaX-DeepLab's recipe for Cityscapes (deeplab2 code): AdamW 3e-4, 60k iterations, batch 32; 256 centers, masks at stride 2.

The numbers that a leaf takes into its model:
    num_centers              in the transformer decoder
    stride_2_pixel_decoder   the pixel decoder of strides 32 to 2, for a backbone with its stem's feature (with_stem_output) or without
    losses                   of CMT-DeepLab; sampling of the instance discrimination at the temperature 0.6
    mask_wise_merge          thresholds and areas, the latter at 1024x2048
"""

_base_ = './adamw_150k.py'
max_iters = 60000
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1 / 5000, by_epoch=False, begin=0, end=5000),
    dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=max_iters),
]
train_cfg = dict(max_iters=max_iters)
auto_scale_lr = dict(base_batch_size=32)

num_centers = 256
stride_2_pixel_decoder = dict(
    kinds=('axial', 'axial', 'bottleneck', 'bottleneck', 'bottleneck'),
    filters=(512, 256, 128, 64, 32),
    num_blocks=(1, 5, 1, 1, 1),
    dilations=(1, 1, 1, 1, 1),
)
discrimination = dict(
    type='PanopticInstanceDiscriminationLoss', loss_weight=1.0, sample_temperature=0.6
)
mask_wise_merge = dict(
    thing_threshold=0.5,
    stuff_threshold=0.3,
    overlap_threshold=0.9,
    mask_weight=0.0,
    thing_area=256,
    stuff_area=2048,
    area_reference=(1025, 2049),
)
