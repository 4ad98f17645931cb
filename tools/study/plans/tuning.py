"""Nine trials for each model, on scenes that no other plan uses: learning rates and loss weights.

    python tools/study/run.py tools/study/plans/tuning.py
Cost: 45 runs of about 3 minutes of one core.
So no result is chosen on the images that it is measured on. MaX and kMaX are rows of layers.py, and
CMT here is its row "CMT without location". Mask2Former and MaskFormer are mmdet's models of the
same size. A layer has four learning rates, and five trials of loss weights and of the scale at
which the masks start; where no rate is named, it is 3e-3. The other two models have five rates, and
four trials of loss weights at the best of these. Each trial changes one weight of the config.
"""

config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=2000, num_val=200, seed=777)
iterations = 1000
validations = 2
seeds = 1
baseline = 'CMT'
layer = 'model.panoptic_head.transformer_decoder.layer'
losses = 'model.criterion.losses'
rate = 'optim_wrapper.optimizer.lr'
without_points = {f'{losses}.reference_points': None}
without_location = {f'{layer}.reference_mask': False, f'{layer}.coordinate_conv': False}
layers = {
    'MaX': {layer: dict(type='MaXLayer'), **without_points},
    'CMT': {**without_location, **without_points},
    'kMaX': {layer: dict(type='KMaXLayer'), **without_points},
}
peers = {'Mask2Former': 'mask2former', 'MaskFormer': 'maskformer'}
rows = [
    dict(name=model + trial, options=change | tried)
    for trial, tried in (
        ('', {}),
        (', rate 5e-3', {rate: 5e-3}),
        (', rate 8e-3', {rate: 8e-3}),
        (', rate 12e-3', {rate: 12e-3}),
    )
    for model, change in layers.items()
]
rows += [
    dict(
        name=f'{model}, rate {value}',
        config=f'configs/peers/{file}_tiny_shapes.py',
        options={rate: float(value)},
    )
    for value in ('2.5e-4', '5e-4', '1e-3', '2e-3', '3e-3')
    for model, file in peers.items()
]
rows += [
    dict(name=f'{model}, {trial}', options=change | tried)
    for model, change in layers.items()
    for trial, tried in (
        ('mask-id 2', {f'{losses}.mask_id.loss_weight': 2.0}),
        ('PQ-style 10', {f'{losses}.pq.loss_weight': 10.0}),
        ('no discrimination', {f'{losses}.discrimination': None}),
        ('mask scale 4', {'model.panoptic_head.predictor.mask_gamma': 4.0}),
        ('earlier predictions 1', {'model.criterion.deep_supervision_weight': 1.0}),
    )
]
rows += [
    dict(
        name=f'{model}, {trial}',
        config=f'configs/peers/{peers[model]}_tiny_shapes.py',
        options={rate: best, f'model.panoptic_head.{key}': value},
    )
    for model, best, classes, mask, dice in (
        ('Mask2Former', 1e-3, 2.0, 5.0, 5.0),
        ('MaskFormer', 5e-4, 1.0, 20.0, 1.0),
    )
    for trial, key, value in (
        ('classes twice', 'loss_cls.loss_weight', 2 * classes),
        ('masks twice', 'loss_mask.loss_weight', 2 * mask),
        ('Dice twice', 'loss_dice.loss_weight', 2 * dice),
        ('no object 0.4', 'loss_cls.class_weight', [*[1.0] * 11, 0.4]),
    )
]
del layer, losses, rate, without_location, without_points, layers, peers
