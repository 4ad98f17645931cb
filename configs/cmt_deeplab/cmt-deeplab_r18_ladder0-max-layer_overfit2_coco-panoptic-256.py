"""Ablation ladder, rung 0: MaX layer, learning two images by heart: a check that the rung can fit real scenes.

    python tools/train.py configs/cmt_deeplab/cmt-deeplab_r18_ladder0-max-layer_overfit2_coco-panoptic-256.py --amp
Hardware: 2 CPU cores, about 5 minutes. Expected PQ on these two images: see docs/measurements.md; it says nothing of any other image.
The images are panopticapi's sample_data: data/coco_panoptic_samples/{input_images/,panoptic_examples/,panoptic_examples.json}
"""

_base_ = './cmt-deeplab_r18_overfit8_coco-panoptic-320.py'
image_size = (256, 256)
max_iters = 300
train_cfg = dict(max_iters=max_iters, val_interval=100)
param_scheduler = [_base_.param_scheduler[0], dict(_base_.param_scheduler[1], end=max_iters)]
samples = dict(
    data_root='data/coco_panoptic_samples/',
    ann_file='panoptic_examples.json',
    image_size=image_size,
    data_prefix=dict(img='input_images/', seg='panoptic_examples/'),
    indices=None,
)
train_dataloader = dict(batch_size=2, num_workers=1, dataset=samples)
val_dataloader = dict(dataset=samples)
test_dataloader = val_dataloader
per_pixel_losses = _base_.model.criterion.losses
per_mask_losses = [
    *per_pixel_losses[:2],
    dict(type='PanopticMaskDiscriminationLoss', loss_weight=1.0),
    *per_pixel_losses[3:],
]
model = dict(
    data_preprocessor=dict(size=image_size),
    panoptic_head=dict(transformer_decoder=dict(layer=dict(type='MaXLayer', pixel_update=False))),
    criterion=dict(losses=per_mask_losses),
)
