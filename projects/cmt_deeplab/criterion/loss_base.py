"""What every loss of the criterion has in common, and what the assigners share with them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from numbers import Real

import torch
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32, softmax_log_odds
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .targets import Generators, SegmentPlanes, StagePlane


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


def check_mask_probability(name: str, value: object) -> None:
    """Raise a :class:`UserError` unless ``value`` is one of the two mask probabilities."""
    if value not in ('softmax', 'sigmoid'):
        raise UserError(
            f"{name}: mask_probability={value!r} is unknown; choose 'softmax' or 'sigmoid'."
        )


def image_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of the valid entries of each image, then over the images.

    ``values`` and ``valid`` are (B, P). The mean of an image without a valid entry is 0.
    """
    total = torch.where(valid, values, 0).sum(1)
    return (total / valid.sum(1).clamp(min=1)).mean()


@dataclass(frozen=True)
class LossInput:
    """What a loss reads of one stage."""

    prediction: MaskPrediction | Tensor  # or the semantic logits (B, C+1, h, w), if it reads them
    planes: SegmentPlanes  # the ground truth of the batch
    stage: StagePlane  # the ground truth at the size of the prediction
    match: MatchResult | None
    generator: Generators


class PanopticLoss(nn.Module):
    """A weighted loss of one stage, with one or more terms.

    Each term is a scalar: computed per image, then averaged over the images, in fp32 under any
    autocast. Subclasses write :meth:`terms`.
    """

    # Such a loss takes the semantic logits (B, C+1, h, w) in place of the prediction, and is
    # computed once per call.
    reads_semantic_logits = False

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__()
        if not is_weight(loss_weight):
            raise UserError(
                f'{type(self).__name__}: loss_weight={loss_weight!r} must be a finite number of at '
                'least 0.'
            )
        self.loss_weight = loss_weight

    def forward(
        self,
        prediction: MaskPrediction | Tensor,
        targets: SegmentPlanes | Sequence[PanopticTarget],
        match: MatchResult | None = None,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        """Weighted terms by name.

        Args:
            targets: One per image, or the :class:`SegmentPlanes` made of them.
            match: What :class:`PanopticHungarianAssigner` returned. Losses that compare centers
                with segments need it.
            generator: Draws the pixels of losses that sample: one, or one per image.

        Raises:
            UserError: the batch sizes disagree.
        """
        planes = SegmentPlanes.of(targets)
        tensor = prediction if self.reads_semantic_logits else prediction.mask_logits
        stage = planes.at(tensor)
        with torch.autocast(tensor.device.type, enabled=False):
            terms = self.terms(LossInput(prediction, planes, stage, match, generator))
        return {name: self.loss_weight * value for name, value in terms.items()}

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        """Terms by name, without the loss weight."""
        raise NotImplementedError


def named_terms(key: str, terms: Mapping[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The terms of the loss ``model.criterion.losses.KEY`` with the names that they are logged by.

    A term called 'loss' gets the name of its loss, so that one class can stand there twice.

    Raises:
        UserError: the terms are no dict, or none of their names contains 'loss'.
    """
    if not isinstance(terms, Mapping):
        raise UserError(
            f'model.criterion.losses.{key} gives a {type(terms).__name__} in place of a dict of '
            'terms by name.'
        )
    own_name = key if key.startswith('loss') else f'loss_{key}'
    named = [(own_name if name == 'loss' else name, value) for name, value in terms.items()]
    if named and not any('loss' in name for name, _ in named):
        raise UserError(
            f"model.criterion.losses.{key} has the terms {list(terms)}, but only terms with 'loss' "
            'in their name are trained: name one of them so.'
        )
    return named
