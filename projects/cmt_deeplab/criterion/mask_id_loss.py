"""Mask-id cross-entropy: which slot each pixel belongs to."""

import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult

from .loss_base import PanopticLoss, image_mean
from .pixel_sampling import Generators
from .segment_planes import SegmentPlanes

IGNORED = -100


@MODELS.register_module()
class PanopticMaskIDLoss(PanopticLoss):
    """``loss_mask_id``: cross-entropy of a softmax over the N slots at each pixel of a matched segment; the target is the segment's slot.

    Mean over those pixels of an image; void, padding and the pixels of unmatched segments are left out. Source: MaX-DeepLab, deeplab2
    code.
    """

    def __init__(self, *, loss_weight: float = 0.3) -> None:
        super().__init__(loss_weight=loss_weight)

    def terms(
        self,
        prediction: MaskPrediction,
        planes: SegmentPlanes,
        match: MatchResult | None,
        generator: Generators,
    ) -> dict[str, Tensor]:
        stage = planes.at(prediction.mask_logits.shape[-2:])
        slot = planes.slots(match, stage).gather(
            1, stage.segment
        )  # (B, P), -1 where no slot is meant
        valid = slot >= 0
        entropy = F.cross_entropy(
            at_least_fp32(prediction.mask_logits).flatten(2),
            torch.where(valid, slot, IGNORED),
            ignore_index=IGNORED,
            reduction='none',
        )  # (B, P)
        return dict(loss_mask_id=image_mean(entropy, valid))
