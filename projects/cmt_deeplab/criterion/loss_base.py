"""What every loss of the criterion has in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .targets import Generators, SegmentPlanes, StagePlane


def image_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of the valid entries of each image, then over the images.

    ``values`` and ``valid`` are (B, P). The mean of an image without a valid entry is 0.
    """
    total = torch.where(valid, values, 0).sum(1)
    return (total / valid.sum(1).clamp(min=1)).mean()


@dataclass(frozen=True)
class LossInput:
    """What a loss reads of one stage."""

    prediction: MaskPrediction | Tensor  # or the semantic logits (B, C+1, h, w), if it reads them
    planes: SegmentPlanes  # the ground truth of the batch
    stage: StagePlane  # the ground truth at the size of the prediction
    match: MatchResult | None
    generator: Generators


class PanopticLoss(nn.Module):
    """A weighted loss of one stage, with one or more terms.

    Each term is a scalar: computed per image, then averaged over the images, in fp32 under any
    autocast. Subclasses write :meth:`terms`.
    """

    # Such a loss takes the semantic logits (B, C+1, h, w) in place of the prediction, and is
    # computed once per call.
    reads_semantic_logits = False

    def __init__(self, *, loss_weight: float) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(
        self,
        prediction: MaskPrediction | Tensor,
        targets: SegmentPlanes | Sequence[PanopticTarget],
        match: MatchResult | None = None,
        generator: Generators = None,
    ) -> dict[str, Tensor]:
        """Weighted terms by name.

        Args:
            targets: One per image, or the :class:`SegmentPlanes` made of them.
            match: What :class:`PanopticHungarianAssigner` returned. Losses that compare centers
                with segments need it.
            generator: Draws the pixels of losses that sample: one, or one per image.

        Raises:
            UserError: the batch sizes disagree.
        """
        planes = SegmentPlanes.of(targets)
        tensor = prediction if self.reads_semantic_logits else prediction.mask_logits
        stage = planes.at(tensor)
        with torch.autocast(tensor.device.type, enabled=False):
            terms = self.terms(LossInput(prediction, planes, stage, match, generator))
        return {name: self.loss_weight * value for name, value in terms.items()}

    def terms(self, given: LossInput) -> dict[str, Tensor]:
        """Terms by name, without the loss weight."""
        raise NotImplementedError
