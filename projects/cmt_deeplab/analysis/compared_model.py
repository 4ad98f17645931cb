"""One model of a comparison: its config, its network, and the images as its pipelines make them."""

import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.runner import load_checkpoint
from torch import nn

from cmt_deeplab.categories import class_list, classes_of_checkpoint, first_difference
from cmt_deeplab.config_names import config_and_checkpoint
from cmt_deeplab.errors import UserError, user_sentence
from cmt_deeplab.mmdet_config import set_class_counts

from .config_model import load_config
from .flops import network_cost


@dataclass
class ComparedModel:
    """``config`` is what the user named, ``figures`` what was measured and ``notes`` what to know.

    ``network`` has the weights of ``checkpoint`` or of a training, else random ones: then
    ``trained`` is False. ``other_classes``: the checkpoint was trained on other classes than those
    of the data. ``failed``: something could not be done, which a note says. ``curve`` has the
    figures of each validation of a training.
    """

    name: str
    config: Config
    checkpoint: str | None = None
    network: nn.Module | None = None
    trained: bool = False
    other_classes: bool = False
    failed: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)

    def attempt(self, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What ``work`` returns for this model; where it fails, one sentence in the notes."""
        try:
            return work(self, *arguments, **options)
        except Exception as error:
            sentence = user_sentence(error)
            text = ' '.join(str(error).split())
            self.notes.append(sentence or f'failed with {type(error).__name__}: {text[:300]}')
            self.failed = True
        return None


def read_model(argument: str) -> ComparedModel:
    """The model that ``CONFIG`` or ``CONFIG:CHECKPOINT`` names.

    Raises:
        MissingFileError: there is no such config or checkpoint.
        UserError: the config cannot be loaded or has no model, or nothing follows the colon.
    """
    path, checkpoint = config_and_checkpoint(argument)
    config = load_config(path)
    if 'model' not in config:
        raise UserError(f'The config {path} has no model: name one that trains a model.')
    if 'data_preprocessor' in config:
        config.model.setdefault('data_preprocessor', config.data_preprocessor)
    return ComparedModel(Path(path).stem, config, checkpoint)


class SharedData:
    """The images and the metric of one config, for all models alike.

    Raises:
        UserError: the config has no train_dataloader, val_dataloader or val_evaluator, or its data
            are not panoptic.
    """

    def __init__(self, config: Config) -> None:
        for key in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
            if not config.get(key):
                raise UserError(f'The config of the data has no {key}: name another one by --data.')
        self.config = config
        metainfo = DATASETS.build(config.val_dataloader.dataset).metainfo
        kinds = ('thing_classes', 'stuff_classes')
        if any(kind not in metainfo for kind in kinds):
            raise UserError('The data are not panoptic (no stuff_classes): name others by --data.')
        self.counts = tuple(len(metainfo[kind]) for kind in kinds)
        self.classes = class_list(metainfo)

    def dataset_config(self, model: ComparedModel, split: str) -> dict:
        """The data set of a split ('train' or 'val'), with a model's pipeline and image size.

        Raises:
            UserError: the config of the model has no such data loader.
        """
        config = deepcopy(self.config[f'{split}_dataloader'].dataset)
        if not model.config.get(f'{split}_dataloader'):
            raise UserError(f'{model.name} has no {split}_dataloader, which names its pipeline.')
        own = model.config[f'{split}_dataloader'].dataset
        while 'pipeline' not in own:  # inside of a wrapper such as RepeatDataset
            own = own.get('dataset') or own['datasets'][0]
        config.pop('image_size', None)
        config.update({key: own[key] for key in ('pipeline', 'image_size') if key in own})
        return config

    def dataset(self, model: ComparedModel, split: str) -> BaseDataset:
        return DATASETS.build(self.dataset_config(model, split))

    def fit_classes(self, model: ComparedModel) -> None:
        """Set the class counts of a model without a checkpoint to those of the data, and say so."""
        fitted = deepcopy(model.config.model)
        set_class_counts(fitted, *self.counts)
        counts = ' + '.join(map(str, self.counts))
        if fitted == model.config.model:
            return
        if model.checkpoint:
            model.other_classes = True
            model.notes.append(f'no PQ: its checkpoint has not the {counts} classes of the data')
        else:
            model.config.model = fitted
            model.notes.append(f'class counts set to those of the data, {counts}')


def build_network(model: ComparedModel, data: SharedData, device: str) -> None:
    """Build the network on a device, with the weights of the checkpoint or else random ones.

    A network that was trained stays. Its size, its cost and the size of its input are measured.
    """
    if model.network is None:
        network = MODELS.build(model.config.model)
        if model.checkpoint:
            stored = classes_of_checkpoint(_load(network, model.checkpoint))
            model.trained = True
            owners = 'the checkpoint', 'the data'
            difference = stored and first_difference(stored, data.classes, owners=owners)
            if difference and not model.other_classes:
                model.other_classes = True
                model.notes.append(f'no PQ: {difference}')
        model.network = network
    network = model.network.to(device).eval()
    prepared = network.data_preprocessor(batch_of(data.dataset(model, 'val'), [0]), False)
    shape = prepared['inputs'].shape[-2:]
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    model.figures.update(input='x'.join(map(str, shape)), trainable=trainable)
    cost = network_cost(network, shape)
    model.figures.update(params=cost.params, macs=cost.macs)


def _load(network: nn.Module, checkpoint: str) -> dict:
    try:
        return load_checkpoint(network, checkpoint, map_location='cpu', strict=True)
    except RuntimeError as error:
        keys = re.findall(r'(?<=[ ,])[\w.]+\.\w+', str(error)) or ['']
        raise UserError(
            f'The checkpoint {checkpoint} is one of another model, as {keys[0]} shows: name the '
            'one that was trained with this config.'
        ) from error


def batch_of(dataset: BaseDataset, indices: Sequence[int]) -> dict:
    """The samples of some images, as a data loader gives them to the model."""
    return pseudo_collate([dataset[i % len(dataset)] for i in indices])


@torch.no_grad()
def evaluate(model: ComparedModel, data: SharedData, images: int | None = None) -> None:
    """PQ, SQ and RQ over all classes, things and stuff, by the metric of the data, in percent.

    A network of random weights has none.
    """
    if model.other_classes:
        return
    if not model.trained:
        model.notes.append('no PQ: random weights (give a checkpoint, or --train N)')
        return
    dataset = data.dataset(model, 'val')
    evaluator = Evaluator(data.config.val_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    count = min(images or len(dataset), len(dataset))
    for i in range(count):
        evaluator.process(model.network.val_step(batch_of(dataset, [i])))
    model.figures.update(quality(evaluator.evaluate(count)))


def quality(metrics: dict[str, float]) -> dict[str, float]:
    """The figures of a metric by their names without a prefix."""
    return {name.rpartition('/')[2]: value for name, value in metrics.items()}
