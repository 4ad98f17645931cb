"""Hungarian matching of cluster centers with segments."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .loss_base import WEIGHT, check
from .targets import SegmentPlanes, segment_sum

EPSILON = 1e-5
FORBIDDEN = -1e6  # the score of a pair that may not be matched; finite, as the solver demands

# What each check of an image says when it fails.
CHECKS = (
    'its index plane names a segment that has no label; the plane and the labels must come from '
    'one annotation',
    'a segment label is no class of the prediction; make num_things_classes and num_stuff_classes '
    'agree with the data set',
)
# Of what the further checks are sums, to see whether all are finite.
NOT_FINITE = 'class_logits', 'mask_logits', 'match_costs'


@TASK_UTILS.register_module()
class PanopticHungarianAssigner:
    """One-to-one matching that maximizes the similarity of centers and segments in each image.

    The similarity is ``p_n(class of k)^a * Dice(mask n, segment k)^b``, where the masks are a
    softmax over the N centers without void and padding, and
    ``Dice = 2 * intersection / (mask + segment + 1e-5)``. Segments without a pixel at the size of
    the prediction are not matched. With more segments than centers some stay unmatched. Everything
    is computed in fp32 and without a gradient, and the whole batch crosses to the host once.

    A subclass that matches by something else writes :meth:`score`.

    Source: MaX-DeepLab, equation 9, where both exponents are 1; deeplab2.

    Args:
        class_exponent: a. The larger it is, the more the class counts; 0 leaves it out.
        dice_exponent: b, the same for the masks.
        stuff_centers: see :meth:`SegmentPlanes.own_centers`; fewer images teach a center then what
            it stands for. Source: K-Net, section 3.3.
    """

    def __init__(
        self,
        *,
        class_exponent: float = 1.0,
        dice_exponent: float = 1.0,
        stuff_centers: bool = False,
    ) -> None:
        exponents = dict(class_exponent=class_exponent, dice_exponent=dice_exponent)
        check('PanopticHungarianAssigner', WEIGHT, **exponents)
        if not any(exponents.values()):
            raise UserError(
                'PanopticHungarianAssigner: class_exponent=0 and dice_exponent=0 leave nothing to '
                'match by: give one of them a number above 0.'
            )
        self.class_exponent, self.dice_exponent = class_exponent, dice_exponent
        self.stuff_centers = stuff_centers

    def __call__(
        self, prediction: MaskPrediction, targets: SegmentPlanes | Sequence[PanopticTarget]
    ) -> MatchResult:
        """Match the prediction of one stage.

        Raises:
            UserError: a label is no class of the prediction, or a plane names a segment that has no
                label.
        """
        return self.begin(prediction, targets)()

    @torch.no_grad()
    def begin(
        self, prediction: MaskPrediction, targets: SegmentPlanes | Sequence[PanopticTarget]
    ) -> Callable[[], MatchResult]:
        """Begin to copy what is matched by to the host, and give the function that goes on.

        A GPU can be given other work before that is called, since it waits for the copy alone.
        """
        planes = SegmentPlanes.of(targets)
        with torch.autocast(prediction.mask_logits.device.type, enabled=False):
            probability, dice, void_share = self.similarity(prediction, planes)
            score = self.score(prediction, planes, probability, dice)
        num_classes = prediction.class_logits.shape[-1] - 1
        if self.stuff_centers:
            score = torch.where(planes.own_centers(score.shape[1], num_classes), score, FORBIDDEN)
        checks = (
            planes.index.flatten(1).amax(1) < planes.counts,
            ((planes.labels >= 0) & (planes.labels < num_classes)).all(1),
            # Sums are finite where all numbers are.
            *(table.sum((1, 2)) for table in (probability, dice, score)),
        )
        area = planes.at(prediction.mask_logits).area
        table = torch.cat([score, area[:, None]], 1)  # (B, N+1, K+1)
        packed = torch.cat([table.flatten(1), torch.stack([c.to(table) for c in checks], 1)], 1)
        on_gpu = packed.is_cuda
        packed = packed.to('cpu', non_blocking=on_gpu)
        copied = torch.cuda.current_stream().record_event() if on_gpu else None

        def finish() -> MatchResult:
            if copied is not None:
                copied.synchronize()
            centers, not_finite = self._solve(packed, table.shape)
            centers = centers.to(dice.device, non_blocking=True)
            known = centers.clamp(min=0)[:, None]
            return MatchResult(
                centers=centers,
                probability=probability.gather(1, known)[:, 0],
                dice=dice.gather(1, known)[:, 0],
                void_share=void_share,
                not_finite=not_finite,
            )

        return finish

    def score(
        self, prediction: MaskPrediction, planes: SegmentPlanes, probability: Tensor, dice: Tensor
    ) -> Tensor:
        """How well each pair fits, (B, N, K+1), of which the matching maximizes the sum.

        ``probability`` and ``dice`` are those of :meth:`similarity`. Column K and the columns of
        absent segments mean nothing, but must be finite.
        """
        return probability**self.class_exponent * dice**self.dice_exponent

    def similarity(
        self, prediction: MaskPrediction, planes: SegmentPlanes
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class probability and Dice of every pair, and the share of every mask on no segment.

        Returns:
            (B, N, K+1), (B, N, K+1) and (B, N). Column K of the first two means nothing.
        """
        stage = planes.at(prediction.mask_logits)
        mask = at_least_fp32(prediction.mask_logits).flatten(2).softmax(1)  # (B, N, P)
        inter = segment_sum(mask, stage.bucket, stage.num_segments)  # (B, N, K+1)
        labeled, void = inter[..., :-1].sum(2), inter[..., -1]  # (B, N)
        dice = 2 * inter / (labeled[..., None] + stage.area[:, None] + EPSILON)
        void_share = void / (labeled + void + EPSILON)
        probability = at_least_fp32(prediction.class_logits).softmax(-1)  # (B, N, C+1)
        # A label that is no class is reported with the one copy; until then any class serves.
        labels = planes.labels[:, None].clamp(0, probability.shape[-1] - 2)
        probability = probability.gather(2, labels.expand(-1, probability.shape[1], -1))
        return probability, dice, void_share

    @torch.compiler.disable  # the rest of a step compiles
    def _solve(self, packed: Tensor, shape: Sequence[int]) -> tuple[Tensor, str | None]:
        """Center of each segment, (B, K+1) int64 with -1 for none, and what is not finite."""
        from scipy.optimize import linear_sum_assignment

        tables, checks = np.split(packed.numpy(), [-len(CHECKS) - len(NOT_FINITE)], axis=1)
        tables, finite = tables.reshape(shape), np.isfinite(checks[:, len(CHECKS) :]).all(0)
        centers = np.full((shape[0], shape[2]), -1)
        for image, (table, passed) in enumerate(zip(tables, checks)):
            for fine, sentence in zip(passed, CHECKS):
                if not fine:
                    raise UserError(f'Image {image} of the batch: {sentence}.')
            if finite.all():
                present = np.flatnonzero(table[-1])
                scores = table[:-1, present]
                chosen, columns = linear_sum_assignment(scores, maximize=True)
                forbidden = scores[chosen, columns] == FORBIDDEN
                centers[image, present[columns]] = np.where(forbidden, -1, chosen)
        wrong = next((name for name, fine in zip(NOT_FINITE, finite) if not fine), None)
        return torch.from_numpy(centers), wrong
