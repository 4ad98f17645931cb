"""What every loss of the criterion has in common."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.structures import MaskPrediction, MatchResult, PanopticTarget

from .pixel_sampling import Generators
from .segment_planes import SegmentPlanes


def image_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of ``values`` (B, P) over the ``valid`` entries of each image, then over the images; an image without one counts as 0."""
    total = torch.where(valid, values, 0).sum(1)
    return (total / valid.sum(1).clamp(min=1)).mean()


class PanopticLoss(nn.Module):
    """A weighted loss over one stage: ``loss(prediction, targets, match, generator=None)`` gives its terms by name, weights included.

    ``targets`` is a list of B :class:`PanopticTarget` (or the :class:`SegmentPlanes` made from one, which saves making it again). Each
    term is a scalar: computed per image, then averaged over the images, in fp32 whatever the autocast. Subclasses write ``terms``.
    """

    reads_semantic_logits = False  # such a loss takes (B, C+1, h, w) semantic logits in place of the prediction, once a call
    needs_match = True
    reads_num_things_classes = (
        False  # the criterion hands its number of thing classes down to such a loss
    )

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
        """Weighted terms of this loss by name.

        Raises:
            ValueError: the batch sizes disagree, or this loss needs a match and none was given.
        """
        planes = SegmentPlanes.of(targets)
        tensor = prediction if self.reads_semantic_logits else prediction.mask_logits
        if len(planes.index) != len(tensor):
            raise UserError(
                f'{type(self).__name__} got {len(planes.index)} targets for {len(tensor)} images: give one for each image.'
            )
        if self.needs_match and match is None:
            raise UserError(
                f'{type(self).__name__} needs a match: pass the MatchResult of PanopticHungarianAssigner.'
            )
        with torch.autocast(tensor.device.type, enabled=False):
            terms = self.terms(prediction, planes, match, generator)
        return {name: self.loss_weight * value for name, value in terms.items()}

    def terms(
        self,
        prediction: MaskPrediction | Tensor,
        planes: SegmentPlanes,
        match: MatchResult | None,
        generator: Generators,
    ) -> dict[str, Tensor]:
        """Unweighted terms by name."""
        raise NotImplementedError
