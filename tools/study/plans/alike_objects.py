"""Scenes of 40 to 150 alike objects: does one center color several of them?

    python tools/study/run.py tools/study/plans/alike_objects.py
Cost: 9 runs of about 5 minutes of one core.
The network has 160 centers and one more stage, at stride 2, where its masks are. The merge makes a
thing of each connected part of a thing; docs/study.md has the same models without that.
"""

_base_ = './small_objects.py'
scenes = dict(_delete_=True, preset='alike', num_train=1000, num_val=50)
iterations = 600
validations = 2
loader = dict(
    dataset=dict(
        metainfo=dict(
            classes=('nucleus', 'tissue'), thing_classes=('nucleus',), stuff_classes=('tissue',)
        )
    )
)
options = dict(
    model=dict(
        num_things_classes=1,
        num_stuff_classes=1,
        panoptic_head=dict(transformer_decoder=dict(num_centers=160, layers_per_stage=(1, 1))),
        postprocess=dict(separate_parts=True),
    ),
    optim_wrapper=dict(optimizer=dict(lr=5e-3)),
    train_dataloader=loader,
    val_dataloader=loader,
    test_dataloader=loader,
)
rows = [
    dict(name=row['name'], options=dict(model=row['options']['model']))
    for row in _base_.rows
    if row['name'] in ('MaX', 'CMT', 'kMaX')
]
del loader
