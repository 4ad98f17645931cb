"""Mask-wise merge: confident masks are pasted one after another."""

import numpy as np
import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from .merge_base import PanopticMerge, PanopticResult
from .occupancy import mean_probability, measure_occupancy, paste_in_order
from .resize import Geometry
from .traced import TracedGeometry, kept_mean, paste_traced


@MODELS.register_module()
class PanopticMaskWiseMerge(PanopticMerge):
    """Pastes masks in the order of class probability times mean mask probability.

    A center holds the pixels where its softmax over all N centers exceeds ``pixel_threshold``, and
    its mask probability is the mean over them. Its mask is pasted if its class probability reaches
    ``thing_threshold`` or ``stuff_threshold`` and more than ``overlap_threshold`` of its pixels are
    still free; it then takes the free ones. Stuff of one class is one segment, and small segments
    are dropped at the end.

    Source: CMT-DeepLab, kMaX-DeepLab. The two public code bases differ:

    * kmax-deeplab: ``strict_class_threshold=True, two_step_resize=True, thing_area=0,
      stuff_area=0``.
    * deeplab2: ``score_at_stride=True``, with image and output of the padded input's size.

    Args:
        mask_weight: Exponent of the mean mask probability in the score.
        strict_class_threshold: A class probability must exceed its threshold.
        score_at_stride: The mean mask probability is taken at the stride of the prediction.
        settings: Those of :class:`PanopticMerge`.
    """

    def __init__(
        self,
        *,
        thing_threshold: float = 0.7,
        stuff_threshold: float = 0.5,
        overlap_threshold: float = 0.8,
        mask_weight: float = 1.0,
        strict_class_threshold: bool = False,
        score_at_stride: bool = False,
        **settings,
    ) -> None:
        super().__init__(**settings)
        self.check_shares(
            thing_threshold=thing_threshold,
            stuff_threshold=stuff_threshold,
            overlap_threshold=overlap_threshold,
        )
        self.thing_threshold = thing_threshold
        self.stuff_threshold = stuff_threshold
        self.overlap_threshold = overlap_threshold
        self.mask_weight = mask_weight
        self.strict_class_threshold = strict_class_threshold
        self.score_at_stride = score_at_stride

    def is_candidate(self, confidence: Tensor, label: Tensor) -> Tensor:
        is_thing = label < self.num_things_classes
        threshold = torch.where(is_thing, self.thing_threshold, self.stuff_threshold)
        return confidence > threshold if self.strict_class_threshold else confidence >= threshold

    def merge(
        self, table: Tensor, confidence: np.ndarray, label: np.ndarray, geometry: Geometry
    ) -> PanopticResult:
        num_candidates = len(label)

        def occupy(exponentials: Tensor) -> Tensor:
            # Every center stays in the denominator; only the candidates are looked at.
            probability = exponentials[:, :num_candidates] / exponentials.sum(-1, keepdim=True)
            return F.threshold_(probability, self.pixel_threshold, 0.0)

        occupancy = measure_occupancy(table, num_candidates, geometry, occupy)
        mean = occupancy.mean_probability
        if self.score_at_stride:
            kept = occupy(self._inside_image(table, geometry).softmax(-1)).cpu().numpy()
            mean = mean_probability(kept.sum(0, dtype=np.float64), np.count_nonzero(kept, axis=0))
        score = (confidence * mean**self.mask_weight).astype(np.float32)
        owner = paste_in_order(occupancy, np.argsort(-score, kind='stable'), self.overlap_threshold)
        return self.assemble(occupancy, owner, label, score, geometry)

    def traced_owner(
        self, mask_logits: Tensor, confidence: Tensor, chosen: Tensor, geometry: TracedGeometry
    ) -> tuple[Tensor, Tensor]:
        def occupy(logits: Tensor) -> Tensor:
            probability = logits.softmax(0)
            return torch.where(
                chosen[:, None, None] & (probability > self.pixel_threshold), probability, 0.0
            )

        kept = occupy(geometry.resize(mask_logits))
        measured = (
            occupy(mask_logits) * geometry.inside(mask_logits) if self.score_at_stride else kept
        )
        score = confidence * kept_mean(measured) ** self.mask_weight
        owner = paste_traced((kept > 0).flatten(1), score, self.overlap_threshold)
        return score, owner.view(kept.shape[1:])

    @staticmethod
    def _inside_image(table: Tensor, geometry: Geometry) -> Tensor:
        """The rows of the table (h*w, N) whose grid point lies on the image, not on padding."""
        kept = []
        for grid, padded, image in zip(geometry.grid, geometry.input, geometry.image):
            if geometry.align_corners:
                kept.append((image - 1) * (grid - 1) // max(padded - 1, 1) + 1)
            else:  # The center of grid point k lies at pixel (k + 0.5) * padded / grid.
                kept.append(max(1, int(image * grid / padded + 0.5)))
        return table.view(*geometry.grid, -1)[: kept[0], : kept[1]].flatten(0, 1)
