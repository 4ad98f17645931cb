"""MaX-DeepLab's instance discrimination: a pixel against the mean features of all ground-truth masks."""

import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult

from .loss_base import PanopticLoss, image_mean
from .pixel_sampling import Generators
from .segment_planes import SegmentPlanes
from .segment_sum import segment_sum


@MODELS.register_module()
class PanopticMaskDiscriminationLoss(PanopticLoss):
    """``loss_mask_discrimination``: cross-entropy of a softmax over the image's K segments at each pixel, the logits being the product of
    the pixel's feature with each segment's normalized mean feature, divided by ``temperature``; the target is the pixel's own segment.

    Mean over the pixels of things (the released code; the criterion hands ``num_things_classes`` down, things come first), or over all
    labeled pixels where that is None. Segments without a pixel take no part. Source: MaX-DeepLab (equations 13-14), deeplab2 code.
    """

    needs_match = False
    reads_num_things_classes = True

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        temperature: float = 0.3,
        num_things_classes: int | None = None,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        self.temperature = temperature
        self.num_things_classes = num_things_classes

    def terms(
        self,
        prediction: MaskPrediction,
        planes: SegmentPlanes,
        match: MatchResult | None,
        generator: Generators,
    ) -> dict[str, Tensor]:
        stage = planes.at(prediction.pixel_features.shape[-2:])
        feature = at_least_fp32(prediction.pixel_features).flatten(2)  # (B, D, P)
        mean = (
            segment_sum(feature, stage.segment, stage.num_segments + 1)
            / stage.area.clamp(min=1)[:, None]
        )  # (B, D, K+1)
        mean = mean * mean.square().sum(1, keepdim=True).clamp(min=1e-12).rsqrt()
        similarity = torch.bmm(mean.transpose(1, 2), feature) / self.temperature  # (B, K+1, P)
        # A finite number keeps an image without any segment free of nan.
        similarity = torch.where(stage.present[..., None], similarity, -1e30)
        counted = (
            stage.present
            if self.num_things_classes is None
            else stage.present & (planes.labels < self.num_things_classes)
        )
        entropy = F.cross_entropy(similarity, stage.segment, reduction='none')
        return dict(loss_mask_discrimination=image_mean(entropy, counted.gather(1, stage.segment)))
