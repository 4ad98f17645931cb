"""Mask-wise merge: confident slots are pasted one after another."""

import numpy as np
import torch
from mmdet.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from .occupancy import measure_occupancy
from .resize import Geometry
from .result import PanopticResult
from .slot_merge import SlotMerge, mean_probability, paste_in_order


@MODELS.register_module()
class PanopticMaskWiseMerge(SlotMerge):
    """Pastes slots in the order of class probability x mean mask probability (CMT-DeepLab, kMaX-DeepLab; deeplab2 code).

    A slot holds the pixels where its softmax over all N slots exceeds ``pixel_threshold``; its mask probability is the mean over them. It
    is pasted if its class probability reaches ``thing_threshold`` or ``stuff_threshold`` and more than ``overlap_threshold`` of its pixels
    are still free; it then takes the free ones. Stuff of one class is one segment, small segments are dropped at the end.

    The two public code bases differ. PyTorch kMaX: ``strict_class_threshold=True, two_step_resize=True, thing_area=0, stuff_area=0``.
    TensorFlow deeplab2: ``score_at_stride=True``, called with image and output of the padded input's size. ``softmax_first`` takes the
    softmax on the grid of the prediction and resizes probabilities. ``class_weight`` and ``mask_weight`` are exponents of the confidence.
    """

    def __init__(
        self,
        *,
        num_things_classes: int,
        num_stuff_classes: int,
        pixel_threshold: float = 0.4,
        thing_threshold: float = 0.7,
        stuff_threshold: float = 0.5,
        overlap_threshold: float = 0.8,
        thing_area: float = 400,
        stuff_area: float = 6400,
        area_reference: tuple[int, int] = (1281, 1281),
        class_weight: float = 1.0,
        mask_weight: float = 1.0,
        strict_class_threshold: bool = False,
        score_at_stride: bool = False,
        softmax_first: bool = False,
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
        self.thing_threshold, self.stuff_threshold, self.overlap_threshold = (
            thing_threshold,
            stuff_threshold,
            overlap_threshold,
        )
        self.class_weight, self.mask_weight = class_weight, mask_weight
        self.strict_class_threshold, self.score_at_stride, self.softmax_first = (
            strict_class_threshold,
            score_at_stride,
            softmax_first,
        )

    def is_candidate(self, confidence: Tensor, label: Tensor) -> Tensor:
        threshold = torch.where(
            label < self.num_things_classes, self.thing_threshold, self.stuff_threshold
        )
        return confidence > threshold if self.strict_class_threshold else confidence >= threshold

    def merge(
        self, table: Tensor, confidence: np.ndarray, label: np.ndarray, geometry: Geometry
    ) -> PanopticResult:
        num_candidates = len(label)

        def keep(probability: Tensor) -> Tensor:
            return F.threshold(probability, self.pixel_threshold, 0.0)

        def occupy(logits: Tensor) -> Tensor:
            # every slot stays in the denominator; only the candidates are looked at
            return keep(logits.softmax(-1)[:, :num_candidates])

        if self.softmax_first:
            probability = table.softmax(-1)[:, :num_candidates].contiguous()
            occupancy = measure_occupancy(
                probability, num_candidates, geometry, keep, two_step=self.two_step_resize
            )
        else:
            occupancy = measure_occupancy(
                table, num_candidates, geometry, occupy, two_step=self.two_step_resize
            )
        if self.score_at_stride:
            kept = occupy(self._inside_image(table, geometry))
            mean = mean_probability(
                kept.sum(0, dtype=torch.float64).cpu().numpy(), kept.count_nonzero(0).cpu().numpy()
            )
        else:
            mean = mean_probability(occupancy.probability_sum, occupancy.slot_pixels)
        score = (confidence**self.class_weight * mean**self.mask_weight).astype(np.float32)
        owner = paste_in_order(occupancy, np.argsort(-score, kind='stable'), self.overlap_threshold)
        return self.assemble(occupancy, owner, label, score, geometry)

    @staticmethod
    def _inside_image(table: Tensor, geometry: Geometry) -> Tensor:
        """The rows of the table (h*w, N) whose grid point lies on the image, not on padding."""
        kept = []
        for grid, padded, image in zip(geometry.grid, geometry.input, geometry.image):
            if geometry.align_corners:
                kept.append((image - 1) * (grid - 1) // max(padded - 1, 1) + 1)
            else:  # center of the grid point in pixels: (k + 0.5) * padded / grid
                kept.append(max(1, int(image * grid / padded + 0.5)))
        return table.view(*geometry.grid, -1)[: kept[0], : kept[1]].reshape(-1, table.shape[1])
