"""Hungarian assignment of cluster centers to segments."""

from collections.abc import Sequence

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .segment_planes import SegmentPlanes
from .segment_sum import segment_sum

DICE_EPSILON = 1e-5


@TASK_UTILS.register_module()
class PanopticHungarianAssigner:
    """One-to-one matching that maximizes ``p_n(class of k) * Dice(softmax_N mask n, segment k)`` over the N x K pairs of an image.

    Dice is ``2 inter / (mask + segment + 1e-5)``, void and padding removed from the masks. Segments without a pixel at the size of the
    prediction are not matched. With more segments than centers some stay unmatched. fp32, no gradient; the whole batch crosses to the
    host once. Source: deeplab2 code, MaX-DeepLab equation 9.
    """

    def __call__(
        self, prediction: MaskPrediction, targets: SegmentPlanes | Sequence[PanopticTarget]
    ) -> MatchResult:
        """Match one stage; slots of an image are in ascending order of their segments.

        Raises:
            ValueError: a class probability or a Dice is not finite, a label is no class of the prediction, or a plane names a segment
                that has no label.
        """
        planes = SegmentPlanes.of(targets)
        with torch.no_grad(), torch.autocast(prediction.mask_logits.device.type, enabled=False):
            classes, dices = self.similarity(prediction, planes)
            stage = planes.at(prediction.mask_logits.shape[-2:])
            checks = torch.stack(
                [
                    torch.isfinite(classes).flatten(1).all(1),
                    torch.isfinite(dices).flatten(1).all(1),
                    (planes.labels >= 0).all(1)
                    & (planes.labels < prediction.class_logits.shape[-1] - 1).all(1),
                    planes.index.flatten(1).amax(1) < planes.counts,
                ],
                1,
            )  # (B, 4)
            packed = (
                torch.cat([(classes * dices).flatten(1), stage.present.float(), checks.float()], 1)
                .cpu()
                .numpy()
            )
        slots, segments = self._solve(
            packed, classes.shape, planes.num_segments, prediction.mask_logits.device
        )
        return MatchResult(slots=slots, segments=segments, prediction=prediction)

    def similarity(
        self, prediction: MaskPrediction, planes: SegmentPlanes
    ) -> tuple[Tensor, Tensor]:
        """Class probability and Dice of every pair, two (B, N, K); one image's masks at a time to bound the memory."""
        stage = planes.at(prediction.mask_logits.shape[-2:])
        number = stage.num_segments
        dices = []
        for logits, segment, area in zip(prediction.mask_logits, stage.segment, stage.area):
            mask = at_least_fp32(logits).flatten(1).softmax(0)  # (N, P)
            inter = segment_sum(mask[None], segment[None], number + 1)[0, :, :number]  # (N, K)
            # Every labeled pixel lies in one segment, so the mask without void and padding is the sum over the segments.
            dices.append(2 * inter / (inter.sum(1, keepdim=True) + area[:number] + DICE_EPSILON))
        probability = at_least_fp32(prediction.class_logits).softmax(-1)  # (B, N, C+1)
        # A label outside of the classes is reported with the matching's one copy; until then any class stands in for it.
        labels = planes.labels[:, None, :number].clamp(0, probability.shape[-1] - 2)
        return probability.gather(2, labels.expand(-1, probability.shape[1], -1)), torch.stack(
            dices
        )

    def _solve(
        self, packed: np.ndarray, shape: torch.Size, num_segments: list[int], device: torch.device
    ) -> tuple[Sequence[Tensor], ...]:
        """Slots and segments of each image's pairs."""
        from scipy.optimize import linear_sum_assignment

        _, num_slots, width = shape
        pairs = []
        for image, row in enumerate(packed):
            finite_class, finite_dice, known_labels, known_index = row[-4:] > 0
            number = num_segments[image]
            if not known_index:
                raise UserError(
                    f'Image {image} of the batch: its index plane names a segment beyond its {number} labels; the plane and '
                    'the labels must come from one annotation.'
                )
            if not known_labels:
                raise UserError(
                    f'Image {image} of the batch: a segment label is no class of the prediction; make num_things_classes and '
                    'num_stuff_classes agree with the data set.'
                )
            if number == 0:
                pairs.append(np.empty((2, 0), dtype=np.int64))
                continue
            if not (finite_class and finite_dice):
                term = (
                    'Dice of the masks (mask_logits)'
                    if finite_class
                    else 'class probability (class_logits)'
                )
                raise UserError(
                    f'Image {image} of the batch: the {term} is not finite, so nothing can be matched; lower the learning '
                    'rate or look for inf and nan in the network.'
                )
            similarity = row[: num_slots * width].reshape(num_slots, width)
            present = np.flatnonzero(row[num_slots * width : -4][:number])
            slots, columns = linear_sum_assignment(similarity[:, present], maximize=True)
            order = np.argsort(columns)
            pairs.append(np.stack([slots[order], present[columns[order]]]).astype(np.int64))
        slots, segments = torch.from_numpy(np.concatenate(pairs, 1)).to(device)  # one copy back
        sizes = [pair.shape[1] for pair in pairs]
        return slots.split(sizes), segments.split(sizes)
