"""Own data: pipelines and loaders without the data, which a leaf names by ``own_data``.

Classes, files and image size come from there (docs/own_data.md), and the truth of an evaluation
from the samples. Training takes crops of images that are scaled by 0.5 to 2, changes their colors,
and pastes segments of a second image on half of them, as many as the fullest image has room for.
"""

load = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')]
pack = dict(type='PackPanopticInputs')
jitter = [
    *load,
    dict(type='PanopticLargeScaleJitter', scale_range=(0.5, 2.0)),
    dict(type='PanopticColorJitter'),
    dict(type='PanopticRandomFlip', prob=0.5),
]
train_pipeline = [
    *jitter,
    dict(type='PanopticCopyPaste', pipeline=jitter, prob=0.5, bounded=True),
    pack,
]
# The truth of an evaluation stays at the original size: it is loaded after the resize.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PanopticResize'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PackPanopticInputs', crowd_as_void=False),
]
tta_pipeline = test_pipeline  # the augmented images are made in the model

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='PanopticIndexDataset', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='PanopticIndexDataset', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PanopticQualityMetric', classwise=True)
test_evaluator = val_evaluator
