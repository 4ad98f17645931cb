"""What every loss of the criterion has in common, and what the assigners share with them."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf
from numbers import Real
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32, softmax_log_odds
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .loss_input import LossInput
from .targets import Generators, SegmentPlanes


def is_weight(value: object) -> bool:
    """Whether a value can weigh a loss or a cost: a finite number that is not negative."""
    return isinstance(value, Real) and 0 <= value < inf


def mask_log_odds(logits: Tensor, mask_probability: str) -> Tensor:
    """Numbers (N, P) in fp32 whose sigmoid is the mask probability, from mask logits (N, P).

    The mask probability is ``'softmax'`` over the centers, which is what the merges read, or
    ``'sigmoid'`` of each logit, as in MaskFormer and Mask2Former.
    """
    if mask_probability == 'softmax':
        return softmax_log_odds(logits)
    return at_least_fp32(logits)


def check_number_of_samples(name: str, key: str, value: object) -> None:
    """Raise a :class:`UserError` unless ``value`` is a positive number of pixels, or None."""
    if value is not None and not (isinstance(value, int) and value > 0):
        raise UserError(
            f'{name}: {key}={value!r} must be a positive whole number of pixels, or None for all.'
        )


def check_weights(place: str, **weights: object) -> None:
    """Raise a :class:`UserError` unless all can weigh a loss or a cost, see :func:`is_weight`."""
    for key, value in weights.items():
        if not is_weight(value):
            raise UserError(f'{place}: {key}={value!r} must be a finite number of at least 0.')


def check_temperature(name: str, value: object) -> None:
    """Raise a :class:`UserError` unless a temperature is a finite positive number."""
    if not (is_weight(value) and value > 0):
        raise UserError(f'{name}: temperature={value!r} must be a finite number above 0.')


def check_mask_probability(name: str, value: object) -> None:
    """Raise a :class:`UserError` unless ``value`` is one of the two mask probabilities."""
    if value not in ('softmax', 'sigmoid'):
        raise UserError(
            f"{name}: mask_probability={value!r} is unknown; choose 'softmax' or 'sigmoid'."
        )


def image_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean (B,) of the valid entries of each image, where ``values`` and ``valid`` are (B, P).

    The mean of an image without a valid entry is 0.
    """
    total = torch.where(valid, values, 0).sum(1)
    return total / valid.sum(1).clamp(min=1)


class PanopticLoss(nn.Module):
    """A weighted loss of one stage, with one or more terms.

    Each term is computed per image, then averaged over the images, in fp32 under any autocast.
    Subclasses write :meth:`terms`.
    """

    # Such a loss takes the semantic logits (B, C+1, h, w) in place of the prediction, and is
    # computed once per call.
    reads_semantic_logits = False
    # Such a loss has no term where the layers predict no reference points.
    reads_reference_points = False
    # A loss that does not is computed before the host waits for the numbers to match by.
    reads_match = True
    # Where this is the name of a tensor of the prediction, the stages in which it has one shape
    # are computed together. Then the loss reads no other tensor, and its terms are (B,), one
    # number for each image.
    joined_by: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """What another class says of its terms does not hold for those of this class."""
        super().__init_subclass__(**kwargs)
        if 'terms' in vars(cls):
            cls.reads_match = vars(cls).get('reads_match', True)
            cls.joined_by = vars(cls).get('joined_by')

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__()
        check_weights(type(self).__name__, loss_weight=loss_weight)
        self.loss_weight = loss_weight

    def forward(
        self,
        prediction: MaskPrediction | Tensor,
        targets: SegmentPlanes | Sequence[PanopticTarget],
        match: MatchResult | None = None,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        """Weighted terms by name, one number each.

        Args:
            targets: One per image, or the :class:`SegmentPlanes` made of them.
            match: What :class:`PanopticHungarianAssigner` returned. Losses that compare centers
                with segments need it.
            generator: Draws the pixels of losses that sample: one, or one per image.

        Raises:
            UserError: the batch sizes disagree, or :meth:`terms` gives no dict of tensors.
        """
        given = LossInput(prediction, SegmentPlanes.of(targets), match, generator)
        return {name: value.mean() for name, value in self.weighted_terms(given).items()}

    def weighted_terms(self, given: LossInput) -> dict[str, Tensor]:
        """:meth:`terms`, in fp32 and times ``loss_weight``."""
        with torch.autocast(given.planes.index.device.type, enabled=False):
            terms = self.terms(given)
        if not isinstance(terms, Mapping):
            raise UserError(
                f'The terms of {type(self).__name__} are a {type(terms).__name__} in place of a '
                'dict by name.'
            )
        if not all(isinstance(value, Tensor) for value in terms.values()):
            raise UserError(f'{type(self).__name__} gives {dict(terms)}: give tensors by name.')
        if self.loss_weight == 1:
            return dict(terms)
        return {name: self.loss_weight * value for name, value in terms.items()}

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        """Terms by name, a number or (B,) each, without the loss weight."""
        raise UserError(f'{type(self).__name__} has no method terms(given): write it.')


def named_terms(key: str, terms: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The terms of the loss ``model.criterion.losses.KEY`` with the names that they are logged by.

    A term called 'loss' gets the name of its loss, so that one class can stand there twice.

    Raises:
        UserError: none of their names contains 'loss'.
    """
    own_name = key if key.startswith('loss') else f'loss_{key}'
    named = [(own_name if name == 'loss' else name, value) for name, value in terms.items()]
    if named and not any('loss' in name for name, _ in named):
        raise UserError(
            f"model.criterion.losses.{key} has the terms {list(terms)}, but only terms with 'loss' "
            'in their name are trained: name one of them so.'
        )
    return named


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
        reason = f'{type(error).__name__}: {error}' if str(error) else type(error).__name__
        raise UserError(
            f'{place}: {kind.__name__} does not work with its arguments ({reason}): correct them.'
        ) from error


def compare_with_head(losses: Mapping[str, nn.Module], head: nn.Module) -> None:
    """Warn about losses that the panoptic head gives nothing for, and the other way round.

    Raises:
        UserError: the head gives nothing for any of the losses.
    """
    reads_semantic = {key for key, loss in losses.items() if loss.reads_semantic_logits}
    reads_points = {
        key for key, loss in losses.items() if getattr(loss, 'reads_reference_points', False)
    }
    has_semantic = getattr(head, 'semantic_head', None) is not None
    has_points = any(getattr(part, 'reference_mask', None) is not None for part in head.modules())
    idle = {}
    if not has_semantic:
        idle |= dict.fromkeys(reads_semantic, 'model.panoptic_head.semantic_head is None')
    if not has_points:
        idle |= dict.fromkeys(reads_points, 'no layer has reference_mask=True')
    sentences = [
        f'model.criterion.losses.{key} computes nothing, because {reason}: change one of the two.'
        for key, reason in sorted(idle.items())
    ]
    if len(idle) == len(losses):
        raise UserError(sentences[0])
    if has_semantic and not reads_semantic:
        sentences.append(
            'model.panoptic_head.semantic_head is trained by no loss: set it to None, or add a '
            'PanopticSemanticLoss to model.criterion.losses.'
        )
    for sentence in sentences:
        print_log(sentence, 'current', logging.WARNING)
