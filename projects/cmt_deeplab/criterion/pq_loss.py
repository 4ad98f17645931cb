"""PQ-style loss: recognition quality times segmentation quality, as two terms."""

import torch
from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32

from .loss_base import LossInput, PanopticLoss
from .targets import segment_sum, to_centers

ALPHA = 0.75  # weight of matched centers in the class term, of unmatched ones it is 1 - ALPHA
WEIGHT_FLOOR = 1e-5  # a weight of zero would drop its center from the mean of the class term


@MODELS.register_module()
class PanopticPQLoss(PanopticLoss):
    """Mask term ``loss_pq_mask`` and class term ``loss_pq_class`` of the PQ-style loss.

    Each term is weighted by how good the other one is, without a gradient: the probability p of the
    segment's class, the Dice of the mask, and the weight w of unmatched centers. All three come
    from the prediction that was matched, also where it is that of a later stage, as in deeplab2 and
    kmax-deeplab, and are floored at 1e-5.

    * Mask term: ``0.75 / N * sum over the matched pairs of p * (1 - Dice_1)``, where
      ``Dice_1 = (2 * intersection + 1) / (mask + segment + 1)``. The masks are a softmax over the
      N centers, cut to the pixels of matched segments.
    * Class term: matched centers have ``0.75 * Dice * -log p(class)``, the others
      ``0.25 * w * -log p(void)``. It is averaged over the centers whose term is not zero.

    Source: MaX-DeepLab, equations 10-12; deeplab2.

    Args:
        unmatched_weight: w is 1 (``'one'``, the published formula) or the share of the center's
            mask that lies on no segment, padding included (``'void_share'``, the released code).
    """

    def __init__(self, *, loss_weight: float = 3.0, unmatched_weight: str = 'one') -> None:
        super().__init__(loss_weight=loss_weight)
        if unmatched_weight not in ('one', 'void_share'):
            raise UserError(
                f'PanopticPQLoss: unmatched_weight={unmatched_weight!r} is unknown; choose '
                "'one' or 'void_share'."
            )
        self.unmatched_weight = unmatched_weight

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        prediction, stage, match = given.prediction, given.stage, given.match
        mask = at_least_fp32(prediction.mask_logits).flatten(2).softmax(1)  # (B, N, P)
        log_probability = at_least_fp32(prediction.class_logits).log_softmax(-1)  # (B, N, C+1)
        num_centers, num_classes = mask.shape[1], log_probability.shape[-1] - 1
        centers = stage.matched_centers(match)  # (B, K+1)
        matched, known = centers >= 0, centers.clamp(min=0)

        # The intersections need one number of each pixel: the mask of its own segment's center.
        pixel_matched = matched.gather(1, stage.segment)[:, None]  # (B, 1, P)
        own = mask.gather(1, known.gather(1, stage.segment)[:, None])  # (B, 1, P)
        own = torch.where(pixel_matched, own, 0)
        inter = segment_sum(own, stage.segment, known.shape[1])[:, 0]  # (B, K+1)
        kept = torch.bmm(mask, pixel_matched.to(mask).transpose(1, 2))[..., 0]  # (B, N)
        dice_1 = (2 * inter + 1) / (kept.gather(1, known) + stage.area + 1)
        mask_terms = match.probability.clamp(min=WEIGHT_FLOOR) * (1 - dice_1)
        mask_term = torch.where(matched, mask_terms, 0).sum(1) * (ALPHA / num_centers)

        share = match.void_share
        if self.unmatched_weight == 'one':
            share = torch.ones_like(share)
        void = torch.full_like(share, num_classes, dtype=torch.int64)
        label = to_centers(given.planes.labels, centers, void)  # (B, N)
        weight = to_centers(
            ALPHA * match.dice.clamp(min=WEIGHT_FLOOR),
            centers,
            (1 - ALPHA) * share.clamp(min=WEIGHT_FLOOR),
        )
        class_terms = -weight * log_probability.gather(2, label[..., None])[..., 0]  # (B, N)
        class_term = class_terms.sum(1) / (class_terms != 0).sum(1).clamp(min=1)
        return dict(loss_pq_mask=mask_term.mean(), loss_pq_class=class_term.mean())
