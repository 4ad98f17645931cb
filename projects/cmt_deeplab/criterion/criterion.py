"""The criterion: match centers with segments, then sum the losses of every prediction stage."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import corners_aligned, resize
from cmt_deeplab.structures import NUM_REFERENCE_POINTS, MaskPrediction, MatchResult, PanopticTarget

from .assigner import PanopticHungarianAssigner
from .loss_base import PanopticLoss, check_weights, compare_with_head, named_terms, tried
from .loss_input import LossInput, equal_stages, joined_stages
from .match_costs import build_assigner
from .mmdet_losses import build_losses
from .targets import Generators, SegmentPlanes

DEFAULT_LOSSES = dict(
    pq=dict(type='PanopticPQLoss'),
    mask_id=dict(type='PanopticMaskIDLoss'),
    discrimination=dict(type='PanopticInstanceDiscriminationLoss'),
    semantic=dict(type='PanopticSemanticLoss'),
    reference_points=dict(type='PanopticReferencePointLoss'),
)


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
        check_weights('model.criterion', deep_supervision_weight=deep_supervision_weight)
        self.losses = build_losses(losses)
        self.num_classes = num_classes
        self.num_things_classes = num_things_classes
        self.assigner = build_assigner(assigner)
        self.share_final_match = share_final_match
        self.resize_to_final = resize_to_final
        self.deep_supervision_weight = deep_supervision_weight
        with torch.device('cpu'):  # also where the model is built on the meta device
            self._try_out()

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
        inputs = [LossInput(stage, planes, None, generator) for stage in stages]
        # These do not need the match, so the host does not wait for its numbers yet.
        terms = self._terms(inputs, semantic_logits, reads_match=False)
        final_match = finish_matching()
        if self.observe is not None:
            self.observe(stages[-1], planes, final_match)
        matches = [final_match] * len(stages)
        if not self.share_final_match:
            matches[:-1] = [self._begin_matching(one, planes)() for one in stages[:-1]]
        for number, match in enumerate(matches):
            if match.not_finite and (match is not final_match or number == len(stages) - 1):
                name = f'loss_matching_of_{match.not_finite}'  # no update may follow
                terms.append((number, -1, name, match.dice.new_tensor(torch.nan)))
        inputs = [replace(one, match=match) for one, match in zip(inputs, matches)]
        terms += self._terms(inputs, semantic_logits, reads_match=True)
        if not terms:
            raise UserError(
                'None of the losses of PanopticCriterion applies: a semantic loss needs the '
                'semantic head, PanopticReferencePointLoss needs reference points.'
            )
        prefixes = [*(f's{i}.' for i in range(len(stages) - 1)), '']
        terms.sort(key=lambda term: term[:2])  # by stage and loss
        result = {prefixes[stage] + name: value for stage, _, name, value in terms}
        # A zero-valued term, so that DDP sees a gradient for every parameter: a sum over no
        # images, which inf and NaN cannot enter.
        read = [semantic_logits, *(part for one in predictions for part in vars(one).values())]
        first = next(iter(result))
        with torch.autocast(planes.index.device.type, enabled=False):
            none = torch.cat([part[:0].flatten() for part in read if part is not None])
        result[first] = result[first] + none.sum()
        return result

    def compare_with_head(self, head: nn.Module) -> None:
        """See :func:`compare_with_head`; the detector calls it when both are built."""
        compare_with_head(self.losses, head)

    def _terms(
        self, inputs: list[LossInput], semantic_logits: Tensor | None, *, reads_match: bool
    ) -> list[tuple[int, int, str, Tensor]]:
        """Stage, number of the loss, name and value of the terms that read the match, or of others.

        Stages are computed together as :attr:`PanopticLoss.joined_by` says.
        """
        last, terms = len(inputs) - 1, []
        joint = {None: [([i], one) for i, one in enumerate(inputs)], 'semantic': []}
        if semantic_logits is not None:
            joint['semantic'].append(([last], replace(inputs[last], prediction=semantic_logits)))
        for order, (key, loss) in enumerate(self.losses.items()):
            # A loss with its own forward, which may be no PanopticLoss, is called as it is.
            own = type(loss).forward is not PanopticLoss.forward
            if (own or loss.reads_match) != reads_match:
                continue
            kind = 'semantic' if loss.reads_semantic_logits else None if own else loss.joined_by
            if kind not in joint:
                groups = equal_stages(inputs, kind)
                joint[kind] = [(g, joined_stages([inputs[i] for i in g], kind)) for g in groups]
            for stages, given in joint[kind]:
                read = given.prediction, given.planes, given.match, given.generator
                found = loss(*read) if own else loss.weighted_terms(given)
                for name, value in named_terms(key, found):
                    for stage, mean in zip(stages, value.view(len(stages), -1).mean(1)):
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

    def _try_out(self) -> None:
        """Match and compute each loss for a made-up batch, so that a misfit is told at once.

        Parts of the user that fail here are left alone: they may need the sizes of the network.
        """
        draw = torch.Generator().manual_seed(0)
        prediction = MaskPrediction(
            mask_logits=torch.rand(2, 4, 8, 8, generator=draw),
            class_logits=torch.rand(2, 4, self.num_classes + 1, generator=draw),
            pixel_features=torch.rand(2, 128, 8, 8, generator=draw),
            reference_points=torch.rand(2, 4, NUM_REFERENCE_POINTS, 2, generator=draw),
        )
        semantic_logits = torch.rand(2, self.num_classes + 1, 8, 8, generator=draw)
        index = torch.randint(-1, 2, (8, 8), generator=draw, dtype=torch.int16)
        target = PanopticTarget(index, torch.tensor([0, self.num_classes - 1]))
        planes = SegmentPlanes.of([target] * 2, self.num_things_classes)
        try:
            own = deepcopy(self)
        except Exception:  # weights that a user's part computes of others, for example
            return
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
                        f'{place} has the term {name}, and so has {found[name]}: remove one of '
                        'the two.'
                    )
                found[name] = place

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
