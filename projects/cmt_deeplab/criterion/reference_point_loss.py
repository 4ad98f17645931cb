"""Mask approximation: the reference points of a center against those of its segment."""

import torch
from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult

from .loss_base import PanopticLoss
from .pixel_sampling import Generators
from .reference_points import NUM_REFERENCE_POINTS
from .segment_planes import SegmentPlanes


@MODELS.register_module()
class PanopticReferencePointLoss(PanopticLoss):
    """``loss_reference``: mean absolute difference over an image's matched centers, R points and 2 coordinates, both in [0, 1].

    The points come from the full-resolution plane at every stage; see :func:`segment_reference_points` for which they are. A stage without
    reference points has no such term. Source: the paper's abstract names the mask approximation; its form is a choice of this project.
    """

    def __init__(self, *, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight=loss_weight)

    def terms(
        self,
        prediction: MaskPrediction,
        planes: SegmentPlanes,
        match: MatchResult | None,
        generator: Generators,
    ) -> dict[str, Tensor]:
        if prediction.reference_points is None:
            return {}
        points = at_least_fp32(prediction.reference_points)  # (B, N, R, 2)
        if points.shape[2] != NUM_REFERENCE_POINTS:
            raise UserError(
                f'The predictions have {points.shape[2]} reference points, segments have {NUM_REFERENCE_POINTS}: set the '
                f'number of reference points of the layers to {NUM_REFERENCE_POINTS} or drop PanopticReferencePointLoss.'
            )
        slots = planes.slots(match, planes.at(prediction.mask_logits.shape[-2:]))  # (B, K+1)
        matched = slots >= 0
        own = points.gather(
            1, slots.clamp(min=0)[..., None, None].expand(-1, -1, *points.shape[2:])
        )  # (B, K+1, R, 2)
        distance = (own - planes.reference_points).abs().mean((2, 3))  # (B, K+1)
        total = torch.where(matched, distance, 0).sum(1) / matched.sum(1).clamp(min=1)
        return dict(loss_reference=total.mean())
