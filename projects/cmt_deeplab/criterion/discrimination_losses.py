"""Losses that pull the features of one segment together and push those of others away."""

from collections.abc import Iterator

import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from cmt_deeplab.precision import at_least_fp32

from .loss_base import SAMPLES, TEMPERATURE, PanopticLoss, check, image_mean
from .loss_input import LossInput, numbers_at_once, sample_pixels
from .targets import segment_sum

EXCLUDED = -1e30  # finite, so that a row without any valid column stays free of NaN


class _SimilarityLogSumExp(torch.autograd.Function):
    """See :func:`similarity_logsumexp`. The gradient is formed on the way.

    With ``E_ab = exp(s_ab - shift)`` and ``z_a = sum_b E_ab`` over the valid b, the gradient is
    ``E_ab (1 / z_a + 1 / z_b) f_b / t``, summed over b. Since E is symmetric, blocks of rows of its
    upper triangle suffice. They are computed once for z and once more for the gradient, so only an
    (n, D) gradient is kept, where autograd keeps the (n, n) matrix of every image and stage.
    """

    @staticmethod
    def forward(ctx, feature: Tensor, valid: Tensor, temperature: float) -> Tensor:
        batch, number, _ = feature.shape
        rows = min(number, max(1, numbers_at_once(feature.device) // (batch * number)))
        feature = feature * valid
        shift = feature.square().sum(2).amax(1)[:, None, None] / temperature  # (B, 1, 1)

        def blocks() -> Iterator[tuple[slice, slice, slice, Tensor]]:
            """Rows of each block, its columns from these on, those behind the rows, and E."""
            for start in range(0, number, rows):
                end = start + rows
                own, whole, rest = slice(start, end), slice(start, None), slice(end, None)
                exponent = torch.baddbmm(
                    shift, feature[:, own], feature[:, whole].mT, beta=-1, alpha=1 / temperature
                )
                yield own, whole, rest, exponent.exp_()

        total = torch.zeros_like(valid)
        for own, whole, rest, block in blocks():
            total[:, own].baddbmm_(block, valid[:, whole])
            total[:, rest].baddbmm_(block[..., rows:].mT, valid[:, own])
        total.clamp_(min=torch.finfo(total.dtype).tiny)  # where nothing is valid
        gradient = None
        if ctx.needs_input_grad[0]:
            gradient, share = torch.zeros_like(feature), valid / (total * temperature)
            for own, whole, rest, block in blocks():
                block *= share[:, own] + share[:, whole].mT
                gradient[:, own].baddbmm_(block, feature[:, whole])
                gradient[:, rest].baddbmm_(block[..., rows:].mT, feature[:, own])
            gradient *= valid
        ctx.save_for_backward(gradient)
        return torch.bmm((total.log_() + shift).mT, valid)[:, 0, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None, None]:
        return grad_output[:, None, None] * ctx.saved_tensors[0], None, None


def similarity_logsumexp(feature: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """The sum over the valid a of ``logsumexp over the valid b of (f_a . f_b / temperature)``.

    The similarity matrix is never kept, see :data:`AT_ONCE`. The result can be differentiated once.
    The exponentials are shifted by the largest one of an image, which is exact for features of
    about equal length, such as those normalized.

    Args:
        feature: (B, n, D).
        valid: (B, n, 1), 1 or 0. An image without a valid entry has 0.

    Returns:
        (B,).
    """
    return _SimilarityLogSumExp.apply(feature, valid, temperature)


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

    reads_match = False
    joined_by = 'pixel_features'

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        num_samples: int = 4096,
        sample_temperature: float = 1.5,
        temperature: float = 0.3,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        check('PanopticInstanceDiscriminationLoss', SAMPLES, num_samples=num_samples)
        check('PanopticInstanceDiscriminationLoss', TEMPERATURE, temperature=temperature)
        self.num_samples = num_samples
        self.sample_temperature = sample_temperature
        self.temperature = temperature

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        stage, feature = given.stage, given.stacked('pixel_features').flatten(-2)  # (S, B, D, P)
        number, _, depth, _ = feature.shape
        position, valid = sample_pixels(
            stage, self.num_samples, self.sample_temperature, given.generator, stages=(number,)
        )  # (S, B, n) each
        feature = feature.gather(-1, position[:, :, None].expand(-1, -1, depth, -1))
        feature = at_least_fp32(feature)  # (S, B, D, n)
        valid = valid[:, :, None].to(feature)  # (S, B, 1, n)
        rows, valid_rows = (each.flatten(0, 1).mT.contiguous() for each in (feature, valid))
        repel = similarity_logsumexp(rows, valid_rows, self.temperature).view(number, -1)
        # The sum over a of f_a times the mean feature of its segment is the sum over segments of
        # |sum of the segment's features|^2 / (its samples).
        bucket = stage.bucket.expand(number, -1, -1).gather(-1, position)
        sums = segment_sum(feature, bucket, stage.num_segments)[..., :-1]  # (S, B, D, K)
        count = segment_sum(valid, bucket, stage.num_segments)[..., :-1]  # (S, B, 1, K)
        attract = (sums.square() / count.clamp(min=1)).sum((-2, -1)) / self.temperature  # (S, B)
        return dict(loss_instance=(repel - attract) / valid.sum((-2, -1)).clamp(min=1))


@MODELS.register_module()
class PanopticMaskDiscriminationLoss(PanopticLoss):
    """``loss_mask_discrimination``: each pixel against the mean features of all segments.

    This is the cross-entropy of a softmax over the image's K segments at each pixel. The logits are
    the products of the pixel's feature with the normalized mean feature of each segment, divided by
    ``temperature``; the target is the pixel's own segment. The mean is over the pixels of things,
    as in deeplab2, or over all labeled pixels where the criterion does not know which classes are
    things. Segments without a pixel take no part. Source: MaX-DeepLab (equations 13-14), deeplab2.
    """

    reads_match = False
    joined_by = 'pixel_features'

    def __init__(self, *, loss_weight: float = 1.0, temperature: float = 0.3) -> None:
        super().__init__(loss_weight=loss_weight)
        check('PanopticMaskDiscriminationLoss', TEMPERATURE, temperature=temperature)
        self.temperature = temperature

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        stage = given.stage
        feature = at_least_fp32(given.stacked('pixel_features')).flatten(-2)  # (S, B, D, P)
        mean = segment_sum(feature, stage.bucket, stage.num_segments)  # (S, B, D, K+1)
        mean = F.normalize(mean / stage.area.clamp(min=1)[:, None], dim=-2)
        similarity = mean.mT @ feature / self.temperature  # (S, B, K+1, P)
        similarity = torch.where(stage.present[..., None], similarity, EXCLUDED).flatten(0, 1)
        segment = stage.segment.expand(len(feature), -1, -1)
        entropy = F.cross_entropy(similarity, segment.flatten(0, 1), reduction='none')
        counted = (stage.present & given.planes.of_things).gather(1, stage.segment)
        return dict(loss_mask_discrimination=image_mean(entropy.view(segment.shape), counted))
