"""The parts of a criterion: built of their configs, tried out, and compared with the head."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from mmdet.models import losses
from mmdet.models.task_modules import assigners
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.parts import build_part, part_class
from cmt_deeplab.slots import SLOTS
from cmt_deeplab.structures import NUM_REFERENCE_POINTS, MaskPrediction, PanopticTarget

from .loss_base import named_terms
from .mmdet_parts import COSTS, PanopticClassLoss, PanopticMaskLoss, PanopticMatchCostAssigner
from .targets import SegmentPlanes


def build_assigner(config: Mapping) -> Callable:
    """The assigner of a config; mmdet's HungarianAssigner becomes one for cluster centers.

    Raises:
        UserError: the config describes no assigner, or one of its costs does not fit.
    """
    costs = config.get('match_costs', ()) if isinstance(config, Mapping) else ()
    for i, cost in enumerate(costs if isinstance(costs, list | tuple) else [costs]):
        part_class(f'{COSTS}.{i}', cost)

    def adapted(assigner: object) -> object:
        if getattr(type(assigner), 'assign', None) is not assigners.HungarianAssigner.assign:
            return assigner
        return PanopticMatchCostAssigner(match_costs=assigner.match_costs)

    return build_part('model.criterion.assigner', config, adapt=adapted)


def build_losses(configs: Mapping[str, Mapping | None]) -> nn.ModuleDict:
    """The losses by name, without those that are None.

    Raises:
        UserError: there is no loss, or one of them is not described as a loss.
    """
    if not isinstance(configs, Mapping) or 'type' in configs:
        raise UserError(
            "model.criterion.losses is a dict by name: losses=dict(pq=dict(type='PanopticPQLoss'), "
            'mask_id=dict(...), ...), in which None switches a loss off; where a base config has '
            'the losses already, losses=dict(pq=dict(loss_weight=5.0)) changes one of them.'
        )
    built = nn.ModuleDict()
    for name, config in configs.items():
        if config is None:
            continue
        place = f'model.criterion.losses.{name}'
        if not (name and isinstance(name, str)) or '.' in name or hasattr(built, name):
            raise UserError(f'{place}: a loss cannot have the name {name!r}, choose another one.')
        if isinstance(config, Mapping) and 'type' not in config:
            raise UserError(
                f'{place} has no type, and there is no loss {name!r} in the base config that it '
                'changes: correct the name, or add the type.'
            )
        with place_named(place):
            built[name] = build_part(place, config, adapt=adapted_loss)
    if not built:
        raise UserError(
            'model.criterion.losses has no losses: give at least one, or leave the key out for '
            'the default ones.'
        )
    return built


def adapted_loss(loss: nn.Module) -> nn.Module:
    """A loss of mmdet on cluster centers where its meaning is clear; others as they are.

    Raises:
        UserError: a loss of mmdet whose meaning is not clear, or that has none.
    """
    if (
        isinstance(loss, losses.DiceLoss)
        or getattr(loss, 'use_sigmoid', False)
        and isinstance(loss, losses.CrossEntropyLoss)
    ):
        return PanopticMaskLoss(loss=loss)
    if isinstance(loss, losses.CrossEntropyLoss):
        return PanopticClassLoss(loss=loss)
    if isinstance(loss, losses.FocalLoss):
        raise UserError(
            'FocalLoss can compare masks or classes: write '
            "dict(type='PanopticMaskLoss', loss=dict(type='FocalLoss', ...)) or "
            "dict(type='PanopticClassLoss', loss=dict(type='FocalLoss', ...))."
        )
    if type(loss).__module__.startswith(losses.__name__):
        raise UserError(
            f"{type(loss).__name__} has no meaning on cluster centers; mmdet's DiceLoss, "
            'CrossEntropyLoss and FocalLoss have, and every subclass of PanopticLoss fits.'
        )
    return loss


def try_out(criterion: nn.Module) -> None:
    """Match and compute each loss for a made-up batch, so that a misfit is told at once.

    Parts of the user that fail here are left alone: they may need the sizes of the network.
    """
    draw = torch.Generator().manual_seed(0)
    prediction = MaskPrediction(
        mask_logits=torch.rand(2, 4, 8, 8, generator=draw),
        class_logits=torch.rand(2, 4, criterion.num_classes + 1, generator=draw),
        pixel_features=torch.rand(2, 128, 8, 8, generator=draw),
        reference_points=torch.rand(2, 4, NUM_REFERENCE_POINTS, 2, generator=draw),
    )
    semantic_logits = torch.rand(2, criterion.num_classes + 1, 8, 8, generator=draw)
    index = torch.randint(-1, 2, (8, 8), generator=draw, dtype=torch.int16)
    target = PanopticTarget(index, torch.tensor([0, criterion.num_classes - 1]))
    planes = SegmentPlanes.of([target] * 2, criterion.num_things_classes)
    try:
        own = deepcopy(criterion)
    except Exception:  # weights that a user's part computes of others, for example
        return
    if isinstance(own.assigner, PanopticMatchCostAssigner):
        for i, cost in enumerate(own.assigner.match_costs):
            try_out_cost(f'{COSTS}.{i}', cost)
    place = 'model.criterion.assigner'
    match = tried(place, own.assigner, own._match, prediction, planes)
    found = {}
    for key, loss in own.losses.items() if match else ():
        source = semantic_logits if loss.reads_semantic_logits else prediction
        place = f'model.criterion.losses.{key}'
        terms = tried(place, loss, loss, source, planes, match, draw)
        for name, _ in named_terms(key, terms or {}):
            if name in found:
                raise UserError(
                    f'{place} has the term {name}, and so has {found[name]}: remove one of the two.'
                )
            found[name] = place


def try_out_cost(place: str, cost: Callable) -> None:
    """Refuse a cost that cannot compare three centers with two segments."""
    centers = InstanceData(scores=torch.zeros(3, 4), masks=torch.zeros(3, 5))
    segments = InstanceData(labels=torch.tensor([0, 2]), masks=torch.eye(2, 5))
    try:
        shape = tuple(cost(pred_instances=centers, gt_instances=segments).shape)
        reason = None if shape == (3, 2) else f'it gives {shape} in place of (N, K)'
    except Exception as error:
        reason = in_words(error)
    if reason:
        raise UserError(
            f'{place}: {type(cost).__name__} cannot compare cluster centers, which have scores '
            '(N, C+1) and masks (N, P), with segments, which have labels (K,) and masks (K, P) '
            f'({reason}); {SLOTS[COSTS].fits} fit.'
        )


def in_words(error: Exception) -> str:
    kind = type(error).__name__
    return f'{kind}: {error}' if str(error) else kind


@contextmanager
def place_named(place: str) -> Iterator[None]:
    """Errors of the user that are raised inside name the key ``place`` of the config."""
    try:
        yield
    except UserError as error:
        if place in str(error):
            raise
        raise UserError(f'{place}: {error}') from error


def tried(place: str, part: object, call: Callable, *arguments: object) -> Any:
    """What ``call`` gives for the arguments, which tries out a part of the criterion.

    What fails in a part of this package or of mmdet is due to the arguments in the config. Where a
    part of the user fails, the result is None.

    Raises:
        UserError: the part does not work with its arguments.
    """
    try:
        with place_named(place), torch.random.fork_rng(devices=[]), torch.no_grad():
            return call(*arguments)
    except UserError:
        raise
    except Exception as error:
        kind = type(getattr(part, 'loss', part))  # of an adapted loss
        if kind.__module__.partition('.')[0] not in ('cmt_deeplab', 'mmdet'):
            return None
        raise UserError(
            f'{place}: {kind.__name__} does not work with its arguments ({in_words(error)}): '
            'correct them.'
        ) from error


def compare_with_head(losses: Mapping[str, nn.Module], head: nn.Module) -> None:
    """Warn about losses that the panoptic head gives nothing for, and the other way round.

    Raises:
        UserError: the head gives nothing for any of the losses.
    """
    has_semantic = getattr(head, 'semantic_head', None) is not None
    has_points = any(getattr(part, 'reference_mask', None) is not None for part in head.modules())
    idle = {}
    for key, loss in losses.items():
        if loss.reads_semantic_logits and not has_semantic:
            idle[key] = 'model.panoptic_head.semantic_head is None'
        elif getattr(loss, 'reads_reference_points', False) and not has_points:
            idle[key] = 'no layer has reference_mask=True'
    sentences = [
        f'model.criterion.losses.{key} computes nothing, because {reason}: change one of the two.'
        for key, reason in idle.items()
    ]
    if len(idle) == len(losses):
        raise UserError(sentences[0])
    if has_semantic and not any(loss.reads_semantic_logits for loss in losses.values()):
        sentences.append(
            'model.panoptic_head.semantic_head is trained by no loss: set it to None, or add a '
            'PanopticSemanticLoss to model.criterion.losses.'
        )
    for sentence in sentences:
        print_log(sentence, 'current', logging.WARNING)
