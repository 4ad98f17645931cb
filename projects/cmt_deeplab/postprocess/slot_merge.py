"""What both merges share: the classes of the slots, their candidates, and the segments made of pasted slots."""

import numpy as np
import torch
from torch import Tensor, nn

from cmt_deeplab.errors import UserError

from .occupancy import Occupancy
from .resize import Geometry
from .result import INSTANCE_OFFSET, PanopticResult


class SlotMerge(nn.Module):
    """Merges the slots of one image; a subclass says which slots are candidates and who owns a pixel.

    ``thing_area`` and ``stuff_area`` are the smallest segments kept, in pixels of an input of ``area_reference`` (height, width); in the
    output they are scaled so that a segment covers the same share of the padded input frame.
    """

    def __init__(
        self,
        *,
        num_things_classes: int,
        num_stuff_classes: int,
        pixel_threshold: float,
        thing_area: float,
        stuff_area: float,
        area_reference: tuple[int, int],
        two_step_resize: bool,
    ) -> None:
        super().__init__()
        if not 0 <= pixel_threshold <= 1:
            raise UserError(
                f'{type(self).__name__}: pixel_threshold={pixel_threshold} is a probability and must lie between 0 and 1'
            )
        self.num_things_classes = num_things_classes
        self.num_classes = num_things_classes + num_stuff_classes
        self.pixel_threshold, self.two_step_resize = pixel_threshold, two_step_resize
        self.thing_area, self.stuff_area, self.area_reference = (
            thing_area,
            stuff_area,
            area_reference,
        )

    def forward(
        self,
        mask_logits: Tensor,
        class_logits: Tensor,
        *,
        input_size: tuple[int, int],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        align_corners: bool,
    ) -> PanopticResult:
        """Mask logits (N, h, w) and class logits (N, C+1), void last, of one image -> panoptic picture (H_o, W_o).

        ``input_size`` is the padded network input that the logits cover, ``image_size`` the image in its top left corner, ``output_size``
        the picture wanted, normally the original image. Raises ValueError if the number of classes is not that of the merge.
        """
        if class_logits.shape[-1] != self.num_classes + 1:
            raise UserError(
                f'{type(self).__name__} was built for {self.num_classes} classes and void but the model gives '
                f'{class_logits.shape[-1]} channels: set num_things_classes and num_stuff_classes of both alike'
            )
        geometry = Geometry(
            tuple(mask_logits.shape[-2:]),
            tuple(input_size),
            tuple(image_size),
            tuple(output_size),
            align_corners,
        )
        with torch.no_grad(), torch.autocast(mask_logits.device.type, enabled=False):
            # softmax over all classes, the best of those that are not void, as in both public code bases
            confidence, label = class_logits.float().softmax(-1)[:, :-1].max(-1)
            chosen = self.is_candidate(confidence, label)
            order = torch.argsort(
                (~chosen).to(torch.uint8), stable=True
            )  # candidates first, each group by its number
            num_candidates = int(chosen.sum())
            if num_candidates == 0:
                return PanopticResult(
                    torch.full(
                        geometry.output,
                        self.num_classes,
                        dtype=torch.int32,
                        device=mask_logits.device,
                    ),
                    [],
                )
            table = mask_logits.float().flatten(1)[order].t().contiguous()  # (h*w, N)
            confidence, label = (
                confidence[order[:num_candidates]].cpu().numpy(),
                label[order[:num_candidates]].cpu().numpy(),
            )
            return self.merge(table, confidence, label, geometry)

    def is_candidate(self, confidence: Tensor, label: Tensor) -> Tensor:
        """Which slots may be pasted, (N,) bool, from class probability and label (N,)."""
        raise NotImplementedError

    def merge(
        self, table: Tensor, confidence: np.ndarray, label: np.ndarray, geometry: Geometry
    ) -> PanopticResult:
        """Logits (h*w, N), the M candidates first, with class probability and label (M,) each -> result."""
        raise NotImplementedError

    def assemble(
        self,
        occupancy: Occupancy,
        owner: np.ndarray,
        label: np.ndarray,
        score: np.ndarray,
        geometry: Geometry,
    ) -> PanopticResult:
        """Numbers the segments and drops the small ones.

        ``owner`` (U,) is the slot that each set of slots falls to, -1 for none. Slots of one stuff class are one segment, whose score is
        that of its best slot; a segment's area is what it owns in the end. A dropped segment leaves void behind.
        """
        smallest = self._smallest_areas(geometry)
        segments: dict[tuple, list[int]] = {}
        for slot in sorted(set(owner[owner >= 0].tolist()), key=lambda slot: (-score[slot], slot)):
            thing = label[slot] < self.num_things_classes
            segments.setdefault((slot,) if thing else ('stuff', int(label[slot])), []).append(slot)
        value_of_set = np.full(len(owner), self.num_classes, dtype=np.int32)
        info, instance = [], 0
        for slots in segments.values():
            member = np.isin(owner, slots)
            area, category = int(occupancy.set_pixels[member].sum()), int(label[slots[0]])
            thing = category < self.num_things_classes
            if area == 0 or area < smallest[thing]:
                continue
            instance += thing
            value = category + INSTANCE_OFFSET * instance * thing
            value_of_set[member] = value
            info.append(
                dict(
                    id=value,
                    category_id=category,
                    isthing=thing,
                    score=float(score[slots[0]]),
                    area=area,
                )
            )
        return PanopticResult(occupancy.paint(value_of_set, geometry.output), info)

    def _smallest_areas(self, geometry: Geometry) -> dict[bool, float]:
        """Smallest area in output pixels by is-thing: share of the reference frame -> padded input -> image -> output."""

        def area(size: tuple[int, int]) -> float:
            return float(size[0] * size[1])

        scale = (
            area(geometry.input)
            / area(self.area_reference)
            * (area(geometry.output) / area(geometry.image))
        )
        return {True: self.thing_area * scale, False: self.stuff_area * scale}


def mean_probability(probability_sum: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Mean mask probability of each slot over the pixels it holds, 0 where it holds none."""
    return probability_sum / np.maximum(pixels, 1.0)


def paste_in_order(
    occupancy: Occupancy, order: np.ndarray, overlap_threshold: float | None
) -> np.ndarray:
    """Owner (U,) of each set of slots after pasting the slots one by one; -1 where none is pasted.

    A slot takes its pixels that are still free if these are more than ``overlap_threshold`` of all its pixels; else it is left out and its
    pixels stay free for the next. ``None`` pastes every slot.
    """
    owner = np.full(len(occupancy.sets), -1)
    for slot in order:
        member = occupancy.sets[:, slot]
        free = member & (owner < 0)
        if overlap_threshold is not None:
            share = np.float32(occupancy.set_pixels[member].sum()) * np.float32(
                overlap_threshold
            )  # float32 as in the public code
            if not np.float32(occupancy.set_pixels[free].sum()) > share:
                continue
        owner[free] = slot
    return owner
