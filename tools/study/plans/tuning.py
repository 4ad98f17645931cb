"""One change at a time, the same ones for the MaX, CMT and kMaX layers, on scenes of their own.

    python tools/study/run.py tools/study/plans/tuning.py
Cost: 36 runs of about 3 minutes of one core.
The scenes are drawn from another seed than those of the other plans, so that no result is chosen
on the images that it is measured on. What is changed is the learning rate, the scale at which the
masks start, the weight of a loss, or that of earlier predictions. CMT is the one without location.
"""

config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=2000, num_val=200, seed=777)
iterations = 1000
validations = 2
seeds = 1
baseline = 'CMT'
layer = 'model.panoptic_head.transformer_decoder.layer'
losses = 'model.criterion.losses'
models = {
    'MaX': {layer: dict(type='MaXLayer')},
    'CMT': {f'{layer}.reference_mask': False, f'{layer}.coordinate_conv': False},
    'kMaX': {layer: dict(type='KMaXLayer')},
}
trials = {
    '': {},
    ', rate 5e-3': {'optim_wrapper.optimizer.lr': 5e-3},
    ', rate 8e-3': {'optim_wrapper.optimizer.lr': 8e-3},
    ', rate 12e-3': {'optim_wrapper.optimizer.lr': 12e-3},
    ', earlier predictions 0.1': {'model.criterion.deep_supervision_weight': 0.1},
    ', mask scale 1': {'model.panoptic_head.predictor.mask_gamma': 1.0},
    ', mask-id 2': {f'{losses}.mask_id.loss_weight': 2.0},
    ', PQ-style 10': {f'{losses}.pq.loss_weight': 10.0},
    ', no discrimination': {f'{losses}.discrimination': None},
    ', semantic 1': {f'{losses}.semantic.loss_weight': 1.0},
    ', mask scale 4': {'model.panoptic_head.predictor.mask_gamma': 4.0},
    ', earlier predictions 1': {'model.criterion.deep_supervision_weight': 1.0},
}
rows = [
    dict(name=model + trial, options={**change, f'{losses}.reference_points': None, **tried})
    for trial, tried in trials.items()
    for model, change in models.items()
]
del layer, losses, models, trials
