"""What every loss of the criterion has in common, and what the assigners share with them."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .loss_input import LossInput
from .targets import Generators, SegmentPlanes

# What a value must be, as a test of it and in words, for :func:`check`.
WEIGHT = lambda x: isinstance(x, Real) and 0 <= x < inf, 'a finite number of at least 0'
TEMPERATURE = lambda x: WEIGHT[0](x) and x > 0, 'a finite number above 0'
SAMPLES = (
    lambda x: x is None or (isinstance(x, int) and x > 0),
    'a positive whole number of pixels, or None for all',
)
SHARE = lambda x: isinstance(x, Real) and 0 < x <= 1, 'a number in (0, 1]'


def one_of(*choices: str) -> tuple:
    return choices.__contains__, ' or '.join(map(repr, choices))


def check(place: str, rule: tuple[Callable[[Any], bool], str], **values: object) -> None:
    """Raise a :class:`UserError` that names the first of the values that breaks a rule."""
    fits, what = rule
    for key, value in values.items():
        if not fits(value):
            raise UserError(f'{place}: {key}={value!r} must be {what}.')


def image_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean (..., B) of the valid entries of each image, of ``values`` (..., B, P) and ``valid``.

    The mean of an image without a valid entry is 0.
    """
    total = torch.where(valid, values, 0).sum(-1)
    return total / valid.sum(-1).clamp(min=1)


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
    # are computed together. Then the terms are (S, B), one number for each stage and image.
    joined_by: str | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """What another class says of its terms does not hold for those of this class."""
        super().__init_subclass__(**kwargs)
        if 'terms' in vars(cls):
            cls.reads_match = vars(cls).get('reads_match', True)
            cls.joined_by = vars(cls).get('joined_by')

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__()
        check(type(self).__name__, WEIGHT, loss_weight=loss_weight)
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
        given = LossInput([prediction], SegmentPlanes.of(targets), match, generator)
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
        stages = len(given.predictions)
        if self.joined_by and any(value.shape[:1] != (stages,) for value in terms.values()):
            raise UserError(
                f'{type(self).__name__} has joined_by={self.joined_by!r}, so its terms must be '
                '(S, B), a number for each stage and image: leave joined_by out for any others.'
            )
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
