"""Pixel-wise merge: every pixel chooses its slot, every slot its class."""

import numpy as np
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from .occupancy import measure_occupancy
from .resize import Geometry
from .result import PanopticResult
from .slot_merge import SlotMerge, mean_probability, paste_in_order


@MODELS.register_module()
class PanopticPixelWiseMerge(SlotMerge):
    """Two argmaxes, over slots and over classes (MaX-DeepLab, section 3.2; deeplab2 code).

    Slots whose class probability is below ``class_threshold`` are set aside. A pixel goes to its best slot if that one was not set aside
    and its probability, in a softmax over the remaining slots only, exceeds ``pixel_threshold``; otherwise it is void. Stuff of one class
    is one segment, small segments are dropped.
    """

    def __init__(
        self,
        *,
        num_things_classes: int,
        num_stuff_classes: int,
        pixel_threshold: float = 0.4,
        class_threshold: float = 0.7,
        thing_area: float = 400,
        stuff_area: float = 6400,
        area_reference: tuple[int, int] = (1281, 1281),
        two_step_resize: bool = False,
    ) -> None:
        super().__init__(
            num_things_classes=num_things_classes,
            num_stuff_classes=num_stuff_classes,
            pixel_threshold=pixel_threshold,
            thing_area=thing_area,
            stuff_area=stuff_area,
            area_reference=area_reference,
            two_step_resize=two_step_resize,
        )
        self.class_threshold = class_threshold

    def is_candidate(self, confidence: Tensor, label: Tensor) -> Tensor:
        return confidence >= self.class_threshold

    def merge(
        self, table: Tensor, confidence: np.ndarray, label: np.ndarray, geometry: Geometry
    ) -> PanopticResult:
        num_candidates = len(label)

        def occupy(logits: Tensor) -> Tensor:
            candidates = logits[:, :num_candidates]
            kept = F.threshold(candidates.softmax(-1), self.pixel_threshold, 0.0)
            return kept.masked_fill_(candidates < logits.amax(-1, keepdim=True), 0.0)

        occupancy = measure_occupancy(
            table, num_candidates, geometry, occupy, two_step=self.two_step_resize
        )
        score = (
            confidence * mean_probability(occupancy.probability_sum, occupancy.slot_pixels)
        ).astype(np.float32)
        # equal logits: the slot with the lower number, as an argmax has it
        owner = paste_in_order(occupancy, np.arange(num_candidates), None)
        return self.assemble(occupancy, owner, label, score, geometry)
