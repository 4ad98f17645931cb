"""PQ-style loss: recognition quality times segmentation quality, as two terms that weight each other."""

import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult

from .assigner import DICE_EPSILON
from .loss_base import PanopticLoss
from .pixel_sampling import Generators
from .segment_planes import SegmentPlanes, StagePlane
from .segment_sum import segment_sum

WEIGHT_FLOOR = 1e-5  # a weight of zero would drop its slot from the mean of the class term


@MODELS.register_module()
class PanopticPQLoss(PanopticLoss):
    """Mask term ``loss_pq_mask`` and class term ``loss_pq_class`` of MaX-DeepLab's PQ-style loss (equations 10-12, deeplab2 code).

    Mask: ``alpha/N * sum over matched pairs of stopgrad(p) * (1 - Dice_1)`` with Dice_1 = (2 inter + 1) / (mask + segment + 1), the masks
    a softmax over the N slots, cut to the pixels of matched segments.
    Class: matched slots ``alpha * stopgrad(Dice) * -log p(class)`` with the Dice of the matching, the others
    ``(1 - alpha) * w * -log p(void)``, averaged over the slots of the image whose term is not zero.
    ``unmatched_weight`` says what w is: 'one' (the published formula) or 'void_share', the share of the slot's mask that lies on void
    (the released code; padding is not void). p, Dice and w are floored at 1e-5.
    ``weights_of`` says whose p, Dice and w these are where stages share one match: those of the 'matched' prediction for all, as in both
    released code bases, or each 'stage' its own, as for a match that names no prediction.
    """

    def __init__(
        self,
        *,
        loss_weight: float = 3.0,
        alpha: float = 0.75,
        unmatched_weight: str = 'one',
        weights_of: str = 'matched',
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        if unmatched_weight not in ('one', 'void_share'):
            raise UserError(
                f"PanopticPQLoss: unmatched_weight={unmatched_weight!r} is unknown; choose 'one' or 'void_share'."
            )
        if weights_of not in ('stage', 'matched'):
            raise UserError(
                f"PanopticPQLoss: weights_of={weights_of!r} is unknown; choose 'stage' or 'matched'."
            )
        self.alpha = alpha
        self.weights_of = weights_of
        self.unmatched_weight = unmatched_weight

    def terms(
        self,
        prediction: MaskPrediction,
        planes: SegmentPlanes,
        match: MatchResult | None,
        generator: Generators,
    ) -> dict[str, Tensor]:
        stage = planes.at(prediction.mask_logits.shape[-2:])
        mask = at_least_fp32(prediction.mask_logits).flatten(2).softmax(1)  # (B, N, P)
        log_probability = at_least_fp32(prediction.class_logits).log_softmax(-1)  # (B, N, C+1)
        num_slots, num_classes = mask.shape[1], log_probability.shape[-1] - 1

        slots = planes.slots(match, stage)  # (B, K+1), -1 where unmatched
        matched = slots >= 0
        slots = slots.clamp(min=0)
        pixel_matched = matched.gather(1, stage.segment)  # (B, P)

        inter = _intersection(mask, slots, pixel_matched, stage)  # (B, K+1)
        kept_sum = torch.bmm(mask, pixel_matched[..., None].to(mask)).squeeze(-1)  # (B, N)
        dice_1 = (2 * inter + 1) / (kept_sum.gather(1, slots) + stage.area + 1)

        if self.weights_of == 'stage' or match.prediction is None:
            pair_probability, pair_dice, share = self._weights(
                mask, log_probability, inter, slots, stage
            )
        else:
            pair_probability, pair_dice, share = planes.once_a_match(
                match, self, lambda: self._matched_weights(planes, match)
            )

        mask_term = torch.where(
            matched, pair_probability.clamp(min=WEIGHT_FLOOR) * (1 - dice_1), 0
        ).sum(1) * (self.alpha / num_slots)

        # Column N takes what the unmatched segments would write.
        goal = torch.where(matched, slots, num_slots)
        label = F.pad(torch.full_like(share, num_classes, dtype=torch.int64), (0, 1)).scatter(
            1, goal, planes.labels
        )[:, :num_slots]
        weight = F.pad((1 - self.alpha) * share.clamp(min=WEIGHT_FLOOR), (0, 1)).scatter(
            1, goal, self.alpha * pair_dice.clamp(min=WEIGHT_FLOOR)
        )[:, :num_slots]
        class_terms = -weight * log_probability.gather(2, label[..., None]).squeeze(-1)  # (B, N)
        class_term = class_terms.sum(1) / (class_terms != 0).sum(1).clamp(min=1)
        return dict(loss_pq_mask=mask_term.mean(), loss_pq_class=class_term.mean())

    @torch.no_grad()
    def _weights(
        self, mask: Tensor, log_probability: Tensor, inter: Tensor, slots: Tensor, stage: StagePlane
    ) -> tuple[Tensor, ...]:
        """p (B, K+1) and Dice (B, K+1) of the matched pairs, w (B, N)."""
        over = torch.stack([stage.labeled, stage.void, torch.ones_like(stage.void)], -1).to(mask)
        labeled_sum, void_sum, full_sum = torch.bmm(mask, over).unbind(-1)  # (B, N) each
        pair_probability = log_probability.exp()[
            torch.arange(len(mask), device=mask.device)[:, None], slots, stage.labels
        ]
        pair_dice = 2 * inter / (labeled_sum.gather(1, slots) + stage.area + DICE_EPSILON)
        share = (
            void_sum / (full_sum + DICE_EPSILON)
            if self.unmatched_weight == 'void_share'
            else torch.ones_like(void_sum)
        )
        return pair_probability, pair_dice, share

    @torch.no_grad()
    def _matched_weights(self, planes: SegmentPlanes, match: MatchResult) -> tuple[Tensor, ...]:
        """The weights of the prediction that was matched, at its own size."""
        prediction = match.prediction
        stage = planes.at(prediction.mask_logits.shape[-2:])
        slots = planes.slots(match, stage)
        matched, slots = slots >= 0, slots.clamp(min=0)
        mask = at_least_fp32(prediction.mask_logits).flatten(2).softmax(1)
        inter = _intersection(mask, slots, matched.gather(1, stage.segment), stage)
        return self._weights(
            mask, at_least_fp32(prediction.class_logits).log_softmax(-1), inter, slots, stage
        )


def _intersection(mask: Tensor, slots: Tensor, pixel_matched: Tensor, stage: StagePlane) -> Tensor:
    """(B, K+1) of the matched pairs, 0 elsewhere; it needs one number of each pixel: the probability of its segment's slot."""
    own = mask.gather(1, slots.gather(1, stage.segment)[:, None])[:, 0]  # (B, P)
    return segment_sum(torch.where(pixel_matched, own, 0)[:, None], stage.segment, slots.shape[1])[
        :, 0
    ]
