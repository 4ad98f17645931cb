"""Pixel-wise merge: every pixel chooses its center, every center its class."""

import numpy as np
import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.precision import LOWEST_LOGIT

from .merge_base import PanopticMerge, PanopticResult
from .occupancy import measure_occupancy, paste_in_order
from .resize import Geometry
from .traced import TracedGeometry, kept_mean


@MODELS.register_module()
class PanopticPixelWiseMerge(PanopticMerge):
    """Two argmaxes, one over centers and one over classes.

    Centers whose class probability is below ``class_threshold`` are set aside. A pixel goes to its
    best center if that one was not set aside, and if its probability in a softmax over the
    remaining centers exceeds ``pixel_threshold``. Otherwise the pixel is void. Stuff of one class
    is one segment, and small segments are dropped. The other settings are those of
    :class:`PanopticMerge`.

    Source: MaX-DeepLab, section 3.2; deeplab2.
    """

    def __init__(self, *, class_threshold: float = 0.7, **settings) -> None:
        super().__init__(**settings)
        self.check_shares(class_threshold=class_threshold)
        self.class_threshold = class_threshold

    def is_candidate(self, confidence: Tensor, label: Tensor) -> Tensor:
        return confidence >= self.class_threshold

    def merge(
        self, table: Tensor, confidence: np.ndarray, label: np.ndarray, geometry: Geometry
    ) -> PanopticResult:
        num_candidates = len(label)

        def occupy(exponentials: Tensor) -> Tensor:
            candidates = exponentials[:, :num_candidates]
            probability = candidates / candidates.sum(-1, keepdim=True)
            kept = F.threshold_(probability, self.pixel_threshold, 0.0)
            return kept.masked_fill_(candidates < exponentials.amax(-1, keepdim=True), 0.0)

        occupancy = measure_occupancy(table, num_candidates, geometry, occupy)
        score = (confidence * occupancy.mean_probability).astype(np.float32)
        # Among centers with equal logits the one with the lower number wins, as in an argmax.
        owner = paste_in_order(occupancy, np.arange(num_candidates), None)
        return self.assemble(occupancy, owner, label, score, geometry)

    def traced_owner(
        self, mask_logits: Tensor, confidence: Tensor, chosen: Tensor, geometry: TracedGeometry
    ) -> tuple[Tensor, Tensor]:
        logits = geometry.resize(mask_logits)
        candidates = chosen[:, None, None]
        probability = logits.masked_fill(~candidates, LOWEST_LOGIT).softmax(0)
        best = candidates & (logits >= logits.amax(0)) & (probability > self.pixel_threshold)
        owner = torch.where(best.any(0), best.long().argmax(0), -1)
        return confidence * kept_mean(torch.where(best, probability, 0.0)), owner
