"""Four or five learning rates for each model, on scenes that no other plan uses.

    python tools/study/run.py tools/study/plans/tuning.py
Cost: 27 runs of about 3 minutes of one core.
So no result is chosen on the images that it is measured on. MaX and kMaX are rows of layers.py, and
CMT here is its row "CMT without location"; where no rate is named, it is 3e-3. Mask2Former and
MaskFormer are mmdet's models of the same size. CMT has five trials more, of loss weights and of the
scale at which the masks start, at 3e-3.
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
cmt = {f'{layer}.reference_mask': False, f'{layer}.coordinate_conv': False, **without_points}
layers = {
    'MaX': {layer: dict(type='MaXLayer'), **without_points},
    'CMT': cmt,
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
    dict(name=f'CMT, {trial}', options=cmt | tried)
    for trial, tried in (
        ('mask-id 2', {f'{losses}.mask_id.loss_weight': 2.0}),
        ('PQ-style 10', {f'{losses}.pq.loss_weight': 10.0}),
        ('no discrimination', {f'{losses}.discrimination': None}),
        ('mask scale 4', {'model.panoptic_head.predictor.mask_gamma': 4.0}),
        ('earlier predictions 1', {'model.criterion.deep_supervision_weight': 1.0}),
    )
]
del layer, losses, rate, without_points, cmt, layers, peers
