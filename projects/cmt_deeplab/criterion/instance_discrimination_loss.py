"""Pixel-wise instance discrimination: pixels of one segment attract, all others repel."""

import torch
from mmdet.registry import MODELS
from torch import Tensor

from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult

from .loss_base import PanopticLoss
from .pixel_sampling import Generators, sample_pixels
from .segment_planes import SegmentPlanes
from .segment_sum import segment_sum
from .similarity_logsumexp import similarity_logsumexp


@MODELS.register_module()
class PanopticInstanceDiscriminationLoss(PanopticLoss):
    """``loss_instance``: with ``s_ab = f_a . f_b / temperature`` over n sampled labeled pixels of an image,
    ``mean_a (logsumexp_b s_ab - mean over b of a's segment of s_ab)``, the pair (a, a) included, things and stuff alike.

    f are the normalized pixel features. Sampling: see :func:`sample_pixels`. The second mean is linear in f, so it is taken as the product
    of f_a with its segment's mean feature; no n x n target exists. Source: kMaX-DeepLab's code, which cites CMT-DeepLab.
    """

    needs_match = False

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        num_samples: int = 4096,
        sample_temperature: float = 1.5,
        temperature: float = 0.3,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        self.num_samples = num_samples
        self.sample_temperature = sample_temperature
        self.temperature = temperature

    def terms(
        self,
        prediction: MaskPrediction,
        planes: SegmentPlanes,
        match: MatchResult | None,
        generator: Generators,
    ) -> dict[str, Tensor]:
        stage = planes.at(prediction.pixel_features.shape[-2:])
        position, valid = sample_pixels(
            stage, self.num_samples, self.sample_temperature, generator
        )  # (B, n) each
        feature = prediction.pixel_features.flatten(2)  # (B, D, P)
        feature = at_least_fp32(
            feature.gather(2, position[:, None].expand(-1, feature.shape[1], -1))
        )  # (B, D, n)
        segment = stage.segment.gather(1, position)  # (B, n), K where not valid
        buckets = stage.num_segments + 1
        weight = valid.to(feature) / valid.sum(1, keepdim=True).clamp(min=1)  # (B, n)

        attract = self._attraction(feature, segment, valid, weight, buckets)  # (B,)
        repel = torch.stack(
            [
                similarity_logsumexp(f.t().contiguous(), v, w, self.temperature)
                for f, v, w in zip(feature, valid, weight)
            ]
        )
        return dict(loss_instance=(repel - attract).mean())

    def _attraction(
        self, feature: Tensor, segment: Tensor, valid: Tensor, weight: Tensor, buckets: int
    ) -> Tensor:
        """``sum_a weight_a * f_a . mean feature of a's segment / temperature``: as all weights of an image are equal, this is
        ``sum_k |sum of k's features|^2 / (samples of k)`` times that weight. (B,)
        """
        sums = segment_sum(feature, segment, buckets)[..., :-1]  # (B, D, K)
        count = segment_sum(valid[:, None].to(feature), segment, buckets)[..., :-1].clamp(
            min=1
        )  # (B, 1, K)
        return (sums.square() / count).sum((1, 2)) * weight.amax(1) / self.temperature
