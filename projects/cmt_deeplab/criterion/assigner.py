"""Hungarian matching of cluster centers with segments."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .targets import SegmentPlanes, segment_sum

EPSILON = 1e-5

# What each check of an image says when it fails.
CHECKS = (
    'its index plane names a segment that has no label; the plane and the labels must come from '
    'one annotation',
    'a segment label is no class of the prediction; make num_things_classes and num_stuff_classes '
    'agree with the data set',
    'the class probability (class_logits) is not finite, so nothing can be matched; lower the '
    'learning rate or look for inf and nan in the network',
    'the Dice of the masks (mask_logits) is not finite, so nothing can be matched; lower the '
    'learning rate or look for inf and nan in the network',
)


@TASK_UTILS.register_module()
class PanopticHungarianAssigner:
    """One-to-one matching that maximizes the similarity of centers and segments in each image.

    The similarity is ``p_n(class of k) * Dice(mask n, segment k)``, where the masks are a softmax
    over the N centers without void and padding, and
    ``Dice = 2 * intersection / (mask + segment + 1e-5)``. Segments without a pixel at the size of
    the prediction are not matched. With more segments than centers some stay unmatched. Everything
    is computed in fp32 and without a gradient, and the whole batch crosses to the host once.

    Source: MaX-DeepLab, equation 9; deeplab2.
    """

    @torch.no_grad()
    def __call__(
        self, prediction: MaskPrediction, targets: SegmentPlanes | Sequence[PanopticTarget]
    ) -> MatchResult:
        """Match the prediction of one stage.

        Raises:
            UserError: a class probability or a Dice is not finite, a label is no class of the
                prediction, or a plane names a segment that has no label.
        """
        planes = SegmentPlanes.of(targets)
        with torch.autocast(prediction.mask_logits.device.type, enabled=False):
            probability, dice, void_share = self.similarity(prediction, planes)
        num_classes = prediction.class_logits.shape[-1] - 1
        checks = (
            planes.index.flatten(1).amax(1) < planes.counts,
            ((planes.labels >= 0) & (planes.labels < num_classes)).all(1),
            torch.isfinite(probability).flatten(1).all(1),
            torch.isfinite(dice).flatten(1).all(1),
        )
        present = planes.at(prediction.mask_logits).present
        table = torch.cat([probability * dice, present[:, None].float()], 1)  # (B, N+1, K+1)
        packed = torch.cat([table.flatten(1), torch.stack(checks, 1).float()], 1).cpu().numpy()
        centers = self._solve(packed, table.shape).to(dice.device)
        known = centers.clamp(min=0)[:, None]
        return MatchResult(
            centers=centers,
            probability=probability.gather(1, known)[:, 0],
            dice=dice.gather(1, known)[:, 0],
            void_share=void_share,
        )

    def similarity(
        self, prediction: MaskPrediction, planes: SegmentPlanes
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class probability and Dice of every pair, and the share of every mask on no segment.

        One image's masks are made at a time, to bound the memory.

        Returns:
            (B, N, K+1), (B, N, K+1) and (B, N). Column K of the first two means nothing.
        """
        stage = planes.at(prediction.mask_logits)
        dices, void_shares = [], []
        for logits, segment, area in zip(prediction.mask_logits, stage.segment, stage.area):
            mask = at_least_fp32(logits).flatten(1).softmax(0)  # (N, P)
            inter = segment_sum(mask[None], segment[None], len(area))[0]  # (N, K+1)
            labeled, void = inter[:, :-1].sum(1), inter[:, -1]  # (N,)
            dices.append(2 * inter / (labeled[:, None] + area + EPSILON))
            void_shares.append(void / (labeled + void + EPSILON))
        probability = at_least_fp32(prediction.class_logits).softmax(-1)  # (B, N, C+1)
        # A label that is no class is reported with the one copy; until then any class serves.
        labels = planes.labels[:, None].clamp(0, probability.shape[-1] - 2)
        probability = probability.gather(2, labels.expand(-1, probability.shape[1], -1))
        return probability, torch.stack(dices), torch.stack(void_shares)

    def _solve(self, packed: np.ndarray, shape: Sequence[int]) -> Tensor:
        """Center of each segment, (B, K+1) int64 with -1 for none."""
        from scipy.optimize import linear_sum_assignment

        checks = packed[:, -len(CHECKS) :]
        tables = packed[:, : -len(CHECKS)].reshape(shape)
        centers = np.full((shape[0], shape[2]), -1)
        for image, (table, passed) in enumerate(zip(tables, checks)):
            for check, sentence in zip(passed, CHECKS):
                if not check:
                    raise UserError(f'Image {image} of the batch: {sentence}.')
            present = np.flatnonzero(table[-1])
            chosen, columns = linear_sum_assignment(table[:-1, present], maximize=True)
            centers[image, present[columns]] = chosen
        return torch.from_numpy(centers)
