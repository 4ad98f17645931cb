"""Losses that pull the features of one segment together and push those of others away."""

import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from cmt_deeplab.precision import at_least_fp32

from .loss_base import (
    LossInput,
    PanopticLoss,
    check_number_of_samples,
    check_temperature,
    image_mean,
)
from .targets import sample_pixels, segment_sum

EXCLUDED = -1e30  # finite, so that a row without any valid column stays free of NaN


class _WeightedLogSumExp(torch.autograd.Function):
    """See :func:`similarity_logsumexp`. The gradient is formed on the way, in blocks of rows.

    With ``P_ab = softmax_b`` the gradient is ``(w P + (w P)^T) f / t``. These are three products of
    the size of the matrix, as in autograd. But only an (n, D) gradient is kept for the backward
    pass, where autograd keeps the (n, n) matrix of every image and stage.
    """

    @staticmethod
    def forward(
        ctx, feature: Tensor, valid: Tensor, weight: Tensor, temperature: float, rows: int
    ) -> Tensor:
        excluded = torch.where(valid, 0.0, EXCLUDED).to(feature)  # (n,)
        scaled = feature / temperature
        gradient = torch.zeros_like(feature) if ctx.needs_input_grad[0] else None
        total = feature.new_zeros(())
        for start in range(0, len(feature), rows):
            block, own_weight = feature[start : start + rows], weight[start : start + rows]
            similarity = torch.addmm(excluded, block, scaled.t())  # (r, n)
            row = torch.logsumexp(similarity, 1)
            total += (own_weight * row).sum()
            if gradient is not None:
                share = similarity.sub_(row[:, None]).exp_().mul_(own_weight[:, None])
                gradient[start : start + rows] += share @ scaled
                gradient.addmm_(share.t(), block, alpha=1 / temperature)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple:
        return grad_output * ctx.saved_tensors[0], None, None, None, None


def similarity_logsumexp(
    feature: Tensor, valid: Tensor, weight: Tensor, temperature: float, rows: int = 1024
) -> Tensor:
    """``sum_a weight_a * logsumexp over the valid b of (f_a . f_b / temperature)``, a scalar.

    The similarity matrix is never kept: memory holds rows x n numbers of it at a time. The result
    can be differentiated once.

    Args:
        feature: (n, D).
        valid: (n,) bool, without a gradient.
        weight: (n,), without a gradient.
    """
    return _WeightedLogSumExp.apply(feature, valid, weight, temperature, rows)


@MODELS.register_module()
class PanopticInstanceDiscriminationLoss(PanopticLoss):
    """``loss_instance``: sampled pixels of one segment attract each other, all others repel.

    With ``s_ab = f_a . f_b / temperature`` over n sampled labeled pixels of an image, it is
    ``mean_a (logsumexp_b s_ab - mean over the b of a's segment of s_ab)``. The pair (a, a) is
    included, and things and stuff are treated alike. f are the normalized pixel features; for the
    sampling see :func:`sample_pixels`. The second mean is linear in f, so it is the product of f_a
    with the mean feature of its segment, and no n x n target exists.

    Source: deeplab2 and kmax-deeplab, which cite CMT-DeepLab.
    """

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        num_samples: int = 4096,
        sample_temperature: float = 1.5,
        temperature: float = 0.3,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        check_number_of_samples('PanopticInstanceDiscriminationLoss', 'num_samples', num_samples)
        check_temperature('PanopticInstanceDiscriminationLoss', temperature)
        self.num_samples = num_samples
        self.sample_temperature = sample_temperature
        self.temperature = temperature

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        stage = given.stage
        position, valid = sample_pixels(
            stage, self.num_samples, self.sample_temperature, given.generator
        )  # (B, n) each
        feature = given.prediction.pixel_features.flatten(2)  # (B, D, P)
        feature = feature.gather(2, position[:, None].expand(-1, feature.shape[1], -1))
        feature = at_least_fp32(feature)  # (B, D, n)
        number = valid.sum(1, keepdim=True).clamp(min=1)  # (B, 1)
        repel = [
            similarity_logsumexp(f.t().contiguous(), v, v / n, self.temperature)
            for f, v, n in zip(feature, valid, number)
        ]
        # The mean over a of f_a times the mean feature of its segment is the sum over segments of
        # |sum of the segment's features|^2 / (its samples), divided by the number of samples.
        segment = stage.segment.gather(1, position)  # (B, n), K where not valid
        buckets = stage.num_segments + 1
        sums = segment_sum(feature, segment, buckets)[..., :-1]  # (B, D, K)
        count = segment_sum(valid[:, None].to(feature), segment, buckets)[..., :-1]  # (B, 1, K)
        attract = (sums.square() / count.clamp(min=1)).sum((1, 2)) / number[:, 0]  # (B,)
        return dict(loss_instance=(torch.stack(repel) - attract / self.temperature).mean())


@MODELS.register_module()
class PanopticMaskDiscriminationLoss(PanopticLoss):
    """``loss_mask_discrimination``: each pixel against the mean features of all segments.

    This is the cross-entropy of a softmax over the image's K segments at each pixel. The logits are
    the products of the pixel's feature with the normalized mean feature of each segment, divided by
    ``temperature``; the target is the pixel's own segment. The mean is over the pixels of things,
    as in deeplab2, or over all labeled pixels where the criterion does not know which classes are
    things. Segments without a pixel take no part. Source: MaX-DeepLab (equations 13-14), deeplab2.
    """

    def __init__(self, *, loss_weight: float = 1.0, temperature: float = 0.3) -> None:
        super().__init__(loss_weight=loss_weight)
        check_temperature('PanopticMaskDiscriminationLoss', temperature)
        self.temperature = temperature

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        stage = given.stage
        feature = at_least_fp32(given.prediction.pixel_features).flatten(2)  # (B, D, P)
        mean = segment_sum(feature, stage.segment, stage.num_segments + 1)  # (B, D, K+1)
        mean = mean / stage.area.clamp(min=1)[:, None]
        mean = mean * mean.square().sum(1, keepdim=True).clamp(min=1e-12).rsqrt()
        similarity = torch.bmm(mean.transpose(1, 2), feature) / self.temperature  # (B, K+1, P)
        similarity = torch.where(stage.present[..., None], similarity, EXCLUDED)
        entropy = F.cross_entropy(similarity, stage.segment, reduction='none')
        counted = (stage.present & given.planes.of_things).gather(1, stage.segment)
        return dict(loss_mask_discrimination=image_mean(entropy, counted))
