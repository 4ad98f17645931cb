"""Checks of a data set before a run: its pipelines, and whether its images go into the model."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmdet import datasets
from mmdet.datasets import CocoPanopticDataset
from mmdet.registry import DATASETS
from mmengine.dataset import pseudo_collate

from cmt_deeplab.categories import class_list, first_difference
from cmt_deeplab.errors import UserError

from .pipeline_check import PipelineCheck

NUMBER_OF_SAMPLES = 3  # since the sizes of random crops and resizes differ
LARGEST_NORMALIZED = 10.0  # values of images that are not normalized yet go up to 255
SAME = 'give both the same metainfo=dict(thing_classes=[...], stuff_classes=[...])'  # a remedy
_passed: set[str] = set()  # the pipelines that have been checked in this process


def check_pipelines(dataset: Any) -> None:
    """Check the pipelines of a panoptic data set, of those inside a wrapper, and of the wrapper.

    Raises:
        UserError: a transform does not treat the truth as it treats the image.
    """
    for part in wrapped_datasets(dataset):
        check_pipelines(part)
    own, leaf = getattr(dataset, 'pipeline', None), innermost(dataset)
    if own is None or not isinstance(leaf, CocoPanopticDataset):
        return
    transforms = list(getattr(own, 'transforms', own))
    if leaf is not dataset:  # the wrapper goes on where the pipeline of the data set ends
        transforms = [*leaf.pipeline.transforms, *transforms]
    key = str((transforms, leaf.test_mode, getattr(leaf, 'image_size', None)))
    if key not in _passed:
        with kept_random_states():
            PipelineCheck(transforms, leaf, type(dataset).__name__).run()
    if '<' not in key:  # every object says what it is
        _passed.add(key)


def check_samples(dataset: Any, preprocessor: Callable) -> None:
    """Send some images of a panoptic data set through its pipeline and the data preprocessor.

    So an image that is larger than the input of the model is told before the training, and so is a
    sample without ground truth, or an image that the pipeline normalizes before the preprocessor
    does. The random generators stay as they are.

    Raises:
        UserError: the samples do not fit the model, or a pipeline does not pass its check.
    """
    check_pipelines(dataset)
    leaf = innermost(dataset)
    if not isinstance(leaf, CocoPanopticDataset):
        return
    with kept_random_states():
        for index in range(min(NUMBER_OF_SAMPLES, len(dataset))):
            sample = dataset[index]
            if 'inputs' not in sample:
                raise UserError(
                    f'The pipeline of {type(dataset).__name__} ({leaf.ann_file}) does not pack its '
                    'samples: end it in PackPanopticInputs.'
                )
            preprocessor(pseudo_collate([sample]), training=not leaf.test_mode)
            image = sample['inputs']
            normalized = image.is_floating_point() and image.abs().max() < LARGEST_NORMALIZED
            if normalized and preprocessor.mean.any():
                raise UserError(
                    f'The pipeline of {type(dataset).__name__} ({leaf.ann_file}) normalizes its '
                    'images, and model.data_preprocessor would do so again: remove Normalize from '
                    'the pipeline, and give mean and std to model.data_preprocessor.'
                )


def wrapped_datasets(dataset: Any) -> list:
    """The data sets in a wrapper such as ConcatDataset or RepeatDataset; of others none."""
    one = getattr(dataset, 'dataset', None)
    return [*getattr(dataset, 'datasets', ()), *([] if one is None else [one])]


def innermost_ones(dataset: Any) -> list:
    """The data sets inside all wrappers; one without a wrapper is its own."""
    parts = wrapped_datasets(dataset)
    return [leaf for part in parts for leaf in innermost_ones(part)] if parts else [dataset]


def innermost(dataset: Any) -> Any:
    """The data set inside all wrappers, of several the first."""
    return innermost_ones(dataset)[0]


def source_of(dataset: Any) -> str:
    """The annotation file of a data set, or what else tells it from others."""
    return getattr(dataset, 'ann_file', None) or type(dataset).__name__


def one_metainfo(dataset: Any) -> dict:
    """The metainfo of a data set, which all data sets inside a wrapper such as ConcatDataset share.

    mmdet's ConcatDataset has a list of them where they differ in anything, such as their colors,
    and metrics and visualizers cannot read a list: it is replaced by its first entry.

    Raises:
        UserError: the data sets inside do not have the same classes in the same order.
    """
    own, first = getattr(dataset, 'metainfo', None) or {}, None
    for part in wrapped_datasets(dataset):
        metainfo = one_metainfo(part)
        if not class_list(metainfo):
            continue
        first = first or (innermost(part), metainfo)
        owners = source_of(first[0]), source_of(innermost(part))
        difference = first_difference(class_list(first[1]), class_list(metainfo), owners=owners)
        if difference:
            raise UserError(
                f'Two data sets in one {type(dataset).__name__} have different classes: '
                f'{difference}; {SAME}.'
            )
    if first and (isinstance(own, list) or not class_list(own)):
        dataset._metainfo = own[0] if isinstance(own, list) else first[1]
        return first[1]
    return own


@DATASETS.register_module(force=True)
class ConcatDataset(datasets.ConcatDataset):
    """mmdet's ``ConcatDataset``, whose data sets must have the same classes; colors may differ.

    It may stand in another one, where mmdet's own fails on its ``cumulative_sizes``.
    """

    def __init__(self, *args: Any, ignore_keys: str | Sequence[str] = (), **kwargs: Any) -> None:
        given = [ignore_keys] if isinstance(ignore_keys, str) else ignore_keys or ()
        super().__init__(*args, ignore_keys=[*given, 'palette', 'cumulative_sizes'], **kwargs)
        one_metainfo(self)


@contextmanager
def kept_random_states() -> Iterator[None]:
    """Leave the random generators of Python, NumPy and torch as they were."""
    states = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(states[2])
