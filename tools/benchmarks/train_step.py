"""A training step on real images beside mmdet's Mask2Former and MaskFormer, all with ResNet-50.

Each model has its own pipeline, losses and optimizer, and the same images of the data set. A step
is preprocessing, forward, losses, backward and the optimizer's step; loading is not timed.
"""

import argparse
from collections.abc import Iterator

from harness import Subject
from models import PEERS, models, shared_data
from whole_models import training_form


def subjects(args: argparse.Namespace, *, batch: int = 2) -> Iterator[Subject]:
    compared = [*models()]
    data = shared_data(args, compared[0].config)
    yield Subject(
        {model.name: training_form(model, data, batch) for model in compared},
        title=f'train-step, {batch} images',
        peers=[*PEERS],
        runs=3,
        warm_up=0,  # training_form has made a first step
        with_memory=True,
    )
