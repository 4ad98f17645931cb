"""The PQ-style loss, mask-id and semantic cross-entropy, and the loss of reference points."""

import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import NUM_REFERENCE_POINTS

from .loss_base import SAMPLES, SHARE, WEIGHT, PanopticLoss, check, image_mean, one_of
from .loss_input import LossInput, sample_pixels
from .targets import to_centers

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

    joined_by = 'class_logits'

    def __init__(self, *, loss_weight: float = 3.0, unmatched_weight: str = 'one') -> None:
        super().__init__(loss_weight=loss_weight)
        rule = one_of('one', 'void_share')
        check('PanopticPQLoss', rule, unmatched_weight=unmatched_weight)
        self.unmatched_weight = unmatched_weight

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        match, centers = given.match, given.centers  # (S, B, K+1)
        log_probability = at_least_fp32(given.stacked('class_logits')).log_softmax(-1)
        num_centers, num_classes = log_probability.shape[-2], log_probability.shape[-1] - 1
        inter, kept, _ = given.mask_sums  # (S, B, K+1) and (S, B, N)
        kept = kept.gather(-1, centers.clamp(min=0))
        dice_1 = (2 * inter + 1) / (kept + given.area + 1)
        mask_terms = match.probability.clamp(min=WEIGHT_FLOOR) * (1 - dice_1)
        mask_term = torch.where(centers >= 0, mask_terms, 0).sum(-1) * (ALPHA / num_centers)

        share = match.void_share  # (B, N)
        if self.unmatched_weight == 'one':
            share = torch.ones_like(share)
        void = torch.full_like(share, num_classes, dtype=torch.int64)
        label = to_centers(given.planes.labels, centers, void)  # (S, B, N)
        weight = to_centers(
            ALPHA * match.dice.clamp(min=WEIGHT_FLOOR),
            centers,
            (1 - ALPHA) * share.clamp(min=WEIGHT_FLOOR),
        )
        class_terms = -weight * log_probability.gather(-1, label[..., None])[..., 0]  # (S, B, N)
        class_term = class_terms.sum(-1) / (class_terms != 0).sum(-1).clamp(min=1)
        return dict(loss_pq_mask=mask_term, loss_pq_class=class_term)


@MODELS.register_module()
class PanopticMaskIDLoss(PanopticLoss):
    """``loss_mask_id``: at each pixel of a matched segment, which center the pixel belongs to.

    This is the cross-entropy of a softmax over the N centers, averaged over those pixels of the
    image. Void, padding and the pixels of unmatched segments take no part. Source: MaX-DeepLab,
    deeplab2.
    """

    joined_by = 'class_logits'

    def __init__(self, *, loss_weight: float = 0.3) -> None:
        super().__init__(loss_weight=loss_weight)

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        _, _, log_own = given.mask_sums
        pixels = torch.where(given.centers >= 0, given.area, 0).sum(-1)  # (S, B)
        return dict(loss_mask_id=-log_own / pixels.clamp(min=1))


@MODELS.register_module()
class PanopticSemanticLoss(PanopticLoss):
    """``loss_semantic``: cross-entropy of the semantic logits at labeled pixels, averaged.

    Void pixels are no target; the void channel only takes part in the softmax. With the default
    arguments the pixels are sampled, see :func:`sample_pixels`, as in kmax-deeplab on COCO. On
    Cityscapes kmax-deeplab takes all pixels (``num_samples=None``), and deeplab2 takes the hardest
    of them, with more weight on small instances (``num_samples=None, hardest_share=0.2,
    small_instance_weight=3``).

    Args:
        num_samples: Sampled pixels per image; None takes all of them.
        sample_temperature: How much the sampling favors small segments.
        hardest_share: Only this share of the taken pixels counts, those with the highest loss.
            As in deeplab2 it is a share of all pixels; void is among them with a loss of 0.
        small_instance_weight: Factor at the pixels of things smaller than ``small_instance_area``.
        small_instance_area: In pixels of the padded input.
        void_first: The void channel is the first one, as in weights released for TensorFlow, and
            not the last.
    """

    reads_semantic_logits = True
    reads_match = False

    def __init__(
        self,
        *,
        loss_weight: float = 1.0,
        num_samples: int | None = 4096,
        sample_temperature: float = 2.0,
        hardest_share: float = 1.0,
        small_instance_weight: float = 1.0,
        small_instance_area: int = 4096,
        void_first: bool = False,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        check('PanopticSemanticLoss', SHARE, hardest_share=hardest_share)
        check('PanopticSemanticLoss', SAMPLES, num_samples=num_samples)
        check('PanopticSemanticLoss', WEIGHT, small_instance_weight=small_instance_weight)
        self.num_samples = num_samples
        self.sample_temperature = sample_temperature
        self.hardest_share = hardest_share
        self.small_instance_weight = small_instance_weight
        self.small_instance_area = small_instance_area
        self.void_first = void_first

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        planes, logits = given.planes, given.prediction.flatten(2)  # (B, C+1, P)
        position, valid = sample_pixels(
            given.stage, self.num_samples, self.sample_temperature, given.generator
        )  # (B, n) each
        logits = logits.gather(2, position[:, None].expand(-1, logits.shape[1], -1))
        segment = given.stage.segment.gather(1, position)
        label = planes.labels.gather(1, segment) + int(self.void_first)
        entropy = F.cross_entropy(at_least_fp32(logits), label, reduction='none')  # (B, n)
        if self.small_instance_weight != 1:
            area = planes.at(planes.index).area
            small = planes.of_things & (area < self.small_instance_area)  # (B, K+1)
            entropy = entropy * torch.where(small, self.small_instance_weight, 1.0).gather(
                1, segment
            )
        if self.hardest_share < 1:
            number = round(self.hardest_share * entropy.shape[1])
            entropy, hardest = torch.where(valid, entropy, 0).topk(number, sorted=False)
            valid = valid.gather(1, hardest)
        return dict(loss_semantic=image_mean(entropy, valid))


@MODELS.register_module()
class PanopticReferencePointLoss(PanopticLoss):
    """``loss_reference``: distance of the centers' reference points from those of their segments.

    This is the mean absolute difference over an image's matched centers, R points and 2
    coordinates, all in [0, 1]. The points of a segment come from the full-resolution plane at every
    stage, see :func:`segment_reference_points`. A stage without reference points has no such term.
    The abstract of the CMT-DeepLab paper names the approximation of masks; this form of it is a
    choice of this project.
    """

    reads_reference_points = True
    joined_by = 'reference_points'

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        if given.prediction.reference_points is None:
            return {}
        points = given.stacked('reference_points')  # (S, B, N, R, 2)
        if points.shape[-2] != NUM_REFERENCE_POINTS:
            raise UserError(
                f'The predictions have {points.shape[-2]} reference points, segments have '
                f'{NUM_REFERENCE_POINTS}: switch the loss off by reference_points=None.'
            )
        centers = given.centers  # (S, B, K+1)
        points = at_least_fp32(points).flatten(-2)
        number = centers.clamp(min=0)[..., None].expand(-1, -1, -1, points.shape[-1])
        distance = points.gather(-2, number) - given.planes.reference_points.flatten(-2)
        return dict(loss_reference=image_mean(distance.abs().mean(-1), centers >= 0))
