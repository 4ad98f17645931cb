"""One ingredient after the other, from the MaX layer to CMT-DeepLab, and CMT less one ingredient.

    python tools/study/run.py tools/study/plans/ladder.py
Cost: 42 runs of about 3 minutes of one core.
The rungs are those of configs/cmt_deeplab/README.md, in the tiny network, all at one learning rate,
at which MaX and kMaX were best in tuning.py and CMT without location second best. Up to rung 4
instances are told apart by the discrimination loss of masks as in MaX-DeepLab, then by pixels.
"""

config = 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'
scenes = dict(preset='quick', num_train=2000, num_val=100)
iterations = 1000
options = {'optim_wrapper.optimizer.lr': 5e-3}
baseline = '0 MaX layer'
by_masks = dict(_delete_=True, type='PanopticMaskDiscriminationLoss', loss_weight=0.2)
none = dict(pixel_update=False, residual_logits=False, reference_mask=False, coordinate_conv=False)
rows = [
    dict(
        name=name,
        options=dict(
            model=dict(
                panoptic_head=dict(transformer_decoder=dict(layer=layer)),
                criterion=dict(losses=losses),
            )
        ),
    )
    for name, layer, losses in (
        (
            '0 MaX layer',
            dict(type='MaXLayer', pixel_update=False),
            dict(discrimination=by_masks, reference_points=None),
        ),
        ('1 clustering update', none, dict(discrimination=by_masks, reference_points=None)),
        (
            '2 pixel update',
            dict(none, pixel_update=True),
            dict(discrimination=by_masks, reference_points=None),
        ),
        (
            '3 residual logits',
            dict(reference_mask=False, coordinate_conv=False),
            dict(discrimination=by_masks, reference_points=None),
        ),
        ('4 location', {}, dict(discrimination=by_masks)),
        ('5 pixels told apart (CMT)', {}, {}),
        ('6 k-means assignment', dict(assignment='kmeans'), {}),
        ('CMT less clustering update', dict(clustering_update=False), {}),
        ('CMT less spatial attention', dict(spatial_attention=False), {}),
        ('CMT less pixel update', dict(pixel_update=False), {}),
        ('CMT less residual logits', dict(residual_logits=False), {}),
        ('CMT less reference mask', dict(reference_mask=False), dict(reference_points=None)),
        ('CMT less coordinates', dict(coordinate_conv=False), {}),
        ('CMT less loss of points', {}, dict(reference_points=dict(loss_weight=0.0))),
    )
]
del by_masks, none
