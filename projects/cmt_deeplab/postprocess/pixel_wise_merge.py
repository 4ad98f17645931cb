"""Pixel-wise merge: every pixel chooses its center, every center its class."""

import numpy as np
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from .merge_base import PanopticMerge, PanopticResult
from .occupancy import measure_occupancy, paste_in_order
from .resize import Geometry


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

        def occupy(logits: Tensor) -> Tensor:
            candidates = logits[:, :num_candidates]
            kept = F.threshold_(candidates.softmax(-1), self.pixel_threshold, 0.0)
            return kept.masked_fill_(candidates < logits.amax(-1, keepdim=True), 0.0)

        occupancy = measure_occupancy(table, num_candidates, geometry, occupy)
        score = (confidence * occupancy.mean_probability).astype(np.float32)
        # Among centers with equal logits the one with the lower number wins, as in an argmax.
        owner = paste_in_order(occupancy, np.arange(num_candidates), None)
        return self.assemble(occupancy, owner, label, score, geometry)
