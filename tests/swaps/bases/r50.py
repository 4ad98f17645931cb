"""CMT-DeepLab R50 with aligned corners and four levels, a quarter as wide, on the scenes at 97x97.

Two iterations, as in tiny.py.
"""

_base_ = [
    '../../../configs/_base_/models/cmt-deeplab_r50.py',
    '../../../configs/_base_/datasets/shapes_panoptic.py',
    '../../../configs/_base_/schedules/adamw_short.py',
    '../../../configs/_base_/default_runtime.py',
]
image_size = (97, 97)
in_process = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, dataset=dict(image_size=image_size), **in_process)
val_dataloader = dict(batch_size=2, dataset=dict(image_size=image_size), **in_process)
test_dataloader = val_dataloader
param_scheduler = [dict(type='PanopticWarmupPolyLR', warmup=0, by_epoch=False)]
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2, max_keep_ckpts=1))
randomness = dict(seed=0)
model = dict(
    num_things_classes=_base_.num_things_classes,
    num_stuff_classes=_base_.num_stuff_classes,
    data_preprocessor=dict(size=image_size),
    backbone=dict(base_channels=16, stem_channels=16, init_cfg=None),
    panoptic_head=dict(
        pixel_decoder=dict(filters=(32, 16, 16, 16), num_blocks=(1, 1, 1, 1), drop_path=0.0),
        transformer_decoder=dict(
            num_centers=16,
            center_channels=64,
            layers_per_stage=(1, 1, 1),
            layer=dict(
                hidden_channels=64,
                heads=4,
                key_channels=32,
                value_channels=64,
                ffn_channels=64,
                drop_path=0.0,
            ),
        ),
        predictor=dict(hidden_channels=64, feature_channels=32, mask_gamma=2.0),
        semantic_head=dict(channels=32, fuse_channels=(16, 8), rates=(1, 2, 3)),
    ),
    postprocess=dict(
        pixel_threshold=0.06,
        thing_threshold=0.0,
        stuff_threshold=0.0,
        overlap_threshold=0.0,
        thing_area=0,
        stuff_area=0,
    ),
)
