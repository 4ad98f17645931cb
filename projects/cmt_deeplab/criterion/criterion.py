"""The criterion: match centers with segments, then sum the losses of every prediction stage."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import corners_aligned, resize
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .assigner import PanopticHungarianAssigner
from .config import build_assigner, build_losses, compare_with_head, try_out
from .loss_base import WEIGHT, PanopticLoss, check, named_terms
from .loss_input import LossInput, equal_stages
from .targets import Generators, SegmentPlanes

DEFAULT_LOSSES = dict(
    pq=dict(type='PanopticPQLoss'),
    mask_id=dict(type='PanopticMaskIDLoss'),
    discrimination=dict(type='PanopticInstanceDiscriminationLoss'),
    semantic=dict(type='PanopticSemanticLoss'),
    reference_points=dict(type='PanopticReferencePointLoss'),
)


class _Zero(torch.autograd.Function):
    """A zero with a gradient of zeros for each tensor, whatever its values are.

    The zeros of one dtype share one stored number.
    """

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        ctx.forms = [(one.shape, one.dtype) for one in tensors]
        return tensors[0].new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        dtypes = {dtype for _, dtype in ctx.forms}
        zeros = {dtype: grad.new_zeros((), dtype=dtype) for dtype in dtypes}
        return tuple(zeros[dtype].expand(shape) for shape, dtype in ctx.forms)


@MODELS.register_module()
class PanopticCriterion(nn.Module):
    """Losses of a list of predictions: the last one is final, the others are deep supervision.

    The result is flat. The terms of the final stage have their own names, those of stage i the
    prefix ``s{i}.``. Every term is computed per image and averaged over the batch, so two
    processes compute the same as one with the double batch.

    Args:
        num_classes: C, without void; the detector hands it down.
        num_things_classes: Things come first among the classes; the detector hands it down.
        losses: Configs by name. None switches a loss off.
        share_final_match: The matching of the final prediction serves all stages. Otherwise each
            stage has its own.
        resize_to_final: Mask logits and pixel features of earlier stages are resized bilinearly to
            the size of the final prediction before anything else, as in deeplab2 and kmax-deeplab;
            the resized features are not normalized again. Otherwise the losses of a stage are
            taken at its own size, which costs less.
        deep_supervision_weight: Factor of the losses of earlier stages.

    A hook may set ``observe``: it is called with the final prediction, the truth and their match.
    """

    observe: Callable[[MaskPrediction, SegmentPlanes, MatchResult], None] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        num_things_classes: int | None = None,
        assigner: dict = dict(type='PanopticHungarianAssigner'),
        losses: Any = DEFAULT_LOSSES,  # a dict; build_losses explains what else is given
        share_final_match: bool = True,
        resize_to_final: bool = False,
        deep_supervision_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check('model.criterion', WEIGHT, deep_supervision_weight=deep_supervision_weight)
        self.losses = build_losses(losses)
        self.num_classes = num_classes
        self.num_things_classes = num_things_classes
        self.assigner = build_assigner(assigner)
        self.share_final_match = share_final_match
        self.resize_to_final = resize_to_final
        self.deep_supervision_weight = deep_supervision_weight
        with torch.device('cpu'):  # also where the model is built on the meta device
            try_out(self)

    def forward(
        self,
        predictions: list[MaskPrediction],
        targets: list[PanopticTarget],
        generator: Generators = None,
        *,
        semantic_logits: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses by name.

        Where a stage cannot be matched because its logits or costs are not finite, there is the
        further term ``loss_matching_of_class_logits`` (or ``mask_logits``, ``match_costs``), NaN.

        Args:
            generator: Draws the sampled pixels: one for the batch, or one per image.
            semantic_logits: (B, C+1, h, w) of the auxiliary head. Without them there is no
                semantic loss.

        Raises:
            UserError: class counts, batch sizes or plane sizes disagree, or no loss applies.
        """
        self._check(predictions, semantic_logits)
        planes = SegmentPlanes.of(targets, self.num_things_classes)
        stages = self._at_final_size(predictions, planes) if self.resize_to_final else predictions
        finish_matching = self._begin_matching(stages[-1], planes)
        read = stages, semantic_logits, planes, generator
        # These do not need the match, so the host does not wait for its numbers yet.
        terms = self._terms(*read, None)
        final_match = finish_matching()
        if self.observe is not None:
            self.observe(stages[-1], planes, final_match)
        matches = [final_match] * len(stages)
        if not self.share_final_match:
            matches[:-1] = [self._begin_matching(one, planes)() for one in stages[:-1]]
        for stage, match in enumerate(matches):
            if match.not_finite and (match is not final_match or stage == len(stages) - 1):
                name = f'loss_matching_of_{match.not_finite}'  # no update may follow
                terms.append((stage, -1, name, match.dice.new_tensor(torch.nan)))
        terms += self._terms(*read, matches)
        if not terms:
            raise UserError(
                'None of the losses of PanopticCriterion applies: a semantic loss needs the '
                'semantic head, PanopticReferencePointLoss needs reference points.'
            )
        prefixes = [*(f's{i}.' for i in range(len(stages) - 1)), '']
        terms.sort(key=lambda term: term[:2])  # by stage and loss
        result = {prefixes[stage] + name: value for stage, _, name, value in terms}
        # DDP needs a gradient for every parameter, also where no loss reads an output.
        tensors = [semantic_logits, *(part for one in predictions for part in vars(one).values())]
        first = next(iter(result))
        result[first] = result[first] + _Zero.apply(*(one for one in tensors if one is not None))
        return result

    def compare_with_head(self, head: nn.Module) -> None:
        """See :func:`compare_with_head`; the detector calls it when both are built."""
        compare_with_head(self.losses, head)

    def _terms(
        self,
        stages: list[MaskPrediction],
        semantic_logits: Tensor | None,
        planes: SegmentPlanes,
        generator: Generators,
        matches: list[MatchResult] | None,
    ) -> list[tuple[int, int, str, Tensor]]:
        """Stage, number of the loss, name and value of the terms that read the match, or of others.

        The others are computed where ``matches`` is None. Stages are computed together as
        :attr:`PanopticLoss.joined_by` says.
        """
        last, terms = len(stages) - 1, []
        inputs: dict[tuple[int, ...], LossInput] = {}  # shared, as losses derive much from them
        for order, (key, loss) in enumerate(self.losses.items()):
            # A loss with its own forward, which may be no PanopticLoss, is called as it is.
            own = type(loss).forward is not PanopticLoss.forward
            if (own or loss.reads_match) != (matches is not None):
                continue
            groups = [[i] for i in range(len(stages))]
            if loss.reads_semantic_logits:
                groups = [[last]] if semantic_logits is not None else []
            elif not own and loss.joined_by and (matches is None or self.share_final_match):
                groups = equal_stages(stages, loss.joined_by)
            for numbers in groups:
                match = matches and matches[numbers[0]]
                given = LossInput([stages[i] for i in numbers], planes, match, generator)
                given = inputs.setdefault(tuple(numbers), given)
                if loss.reads_semantic_logits:
                    given = replace(given, predictions=[semantic_logits])
                four = given.prediction, planes, given.match, generator
                found = loss(*four) if own else loss.weighted_terms(given)
                for name, value in named_terms(key, found):
                    for stage, mean in zip(numbers, value.view(len(numbers), -1).mean(1)):
                        weight = 1 if stage == last else self.deep_supervision_weight
                        terms.append((stage, order, name, mean if weight == 1 else weight * mean))
        return terms

    def _begin_matching(self, prediction: MaskPrediction, planes: SegmentPlanes) -> Callable:
        """Queue what needs no wait of the host, and give the function that ends the matching."""
        if type(self.assigner).__call__ is PanopticHungarianAssigner.__call__:
            return self.assigner.begin(prediction, planes)
        return partial(self._match, prediction, planes)

    def _match(self, prediction: MaskPrediction, planes: SegmentPlanes) -> MatchResult:
        match = self.assigner(prediction, planes)
        if not isinstance(match, MatchResult):
            raise UserError(
                f'model.criterion.assigner: {type(self.assigner).__name__} gives a '
                f'{type(match).__name__} in place of a MatchResult of cmt_deeplab.structures.'
            )
        return match

    def _at_final_size(
        self, predictions: list[MaskPrediction], planes: SegmentPlanes
    ) -> list[MaskPrediction]:
        """The predictions with masks and features resized to the size of the last one."""
        size = predictions[-1].mask_logits.shape[-2:]
        fit = partial(resize, size=size, align_corners=corners_aligned(planes.index.shape[-1]))
        return [
            replace(p, mask_logits=fit(p.mask_logits), pixel_features=fit(p.pixel_features))
            for p in predictions
        ]

    def _check(self, predictions: list[MaskPrediction], semantic_logits: Tensor | None) -> None:
        if not predictions:
            raise UserError(
                'PanopticCriterion got no predictions: give a list whose last entry is the final '
                'prediction.'
            )
        channels = {
            f'class_logits of stage {i}': p.class_logits.shape[-1]
            for i, p in enumerate(predictions)
        }
        if semantic_logits is not None:
            channels['semantic_logits'] = semantic_logits.shape[1]
        for name, number in channels.items():
            if number != self.num_classes + 1:
                raise UserError(
                    f'The {name} have {number} channels, but num_classes={self.num_classes} and '
                    f'void make {self.num_classes + 1}: set the class counts in the detector '
                    'only, it hands them down.'
                )
