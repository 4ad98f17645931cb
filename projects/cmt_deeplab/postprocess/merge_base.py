"""What both merges share: the candidates among the centers, and the segments made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from cmt_deeplab.coco_format import check_num_classes, map_value
from cmt_deeplab.errors import UserError

from .occupancy import Occupancy, point_table
from .parts import separate_parts
from .resize import Geometry
from .traced import TracedGeometry


@dataclass(frozen=True)
class PanopticResult:
    """Panoptic segmentation of one image.

    ``segment_map`` has the values of ``coco_format.map_value``, and the number of classes on void.
    Stuff has instance 0; things have 1, 2, ... over all classes. ``segments_info`` has one dict per
    segment: ``id`` (its value in the map), ``category_id`` (label), ``isthing``, ``score`` (class
    probability times mean mask probability) and ``area`` in pixels.
    """

    segment_map: Tensor  # (H_o, W_o) int32
    segments_info: list[dict]


class PanopticMerge(nn.Module):
    """Merges the centers of one image; a subclass says which may be pasted and who owns a pixel.

    Args:
        pixel_threshold: A mask holds the pixels where its probability exceeds this.
        thing_area: The smallest thing that is kept, in pixels of an input of ``area_reference``
            (height, width). In the output the limit is scaled, so that a segment covers the same
            share of the padded input.
        stuff_area: The same for stuff.
        two_step_resize: See :func:`cmt_deeplab.postprocess.resize.axis_taps`.
        separate_parts: Each connected part of a thing becomes a thing, see :func:`separate_parts`.
            That tells apart what one center has colored, but also the parts of a thing that another
            hides in the middle, and it drops small parts. It suits data whose things are in one
            piece.
    """

    # The smallest class probability of a candidate by label (C,), in place of the thresholds of the
    # config; where it is nan these count.
    class_thresholds: np.ndarray | None = None

    def __init__(
        self,
        *,
        num_things_classes: int,
        num_stuff_classes: int,
        pixel_threshold: float = 0.4,
        thing_area: float = 400,
        stuff_area: float = 6400,
        area_reference: tuple[int, int] = (1281, 1281),
        two_step_resize: bool = False,
        separate_parts: bool = False,
    ) -> None:
        super().__init__()
        self.check_shares(pixel_threshold=pixel_threshold)
        for key, area in dict(thing_area=thing_area, stuff_area=stuff_area).items():
            if not (isinstance(area, Real) and area >= 0):
                raise UserError(
                    f'{type(self).__name__}: {key}={area!r} must be a number of pixels that is not '
                    'negative.'
                )
        self.num_things_classes = num_things_classes
        self.num_classes = num_things_classes + num_stuff_classes
        check_num_classes(self.num_classes, type(self).__name__)
        self.pixel_threshold = pixel_threshold
        self.smallest_area = (stuff_area, thing_area)  # by whether a segment is a thing
        self.area_reference = area_reference
        self.two_step_resize, self.separate_parts = two_step_resize, separate_parts

    def check_shares(self, **shares: float) -> None:
        """Raise a :class:`UserError` unless probabilities and shares lie between 0 and 1."""
        for key, value in shares.items():
            if not (isinstance(value, Real) and 0 <= value <= 1):
                raise UserError(f'{type(self).__name__}: {key}={value!r} must lie between 0 and 1.')

    @torch.no_grad()
    def forward(
        self,
        mask_logits: Tensor,
        class_logits: Tensor,
        *,
        input_size: Sequence[int],
        image_size: Sequence[int],
        output_size: Sequence[int],
        align_corners: bool,
    ) -> PanopticResult:
        """Merge the masks and classes of one image. All sizes are (height, width).

        Args:
            mask_logits: (N, h, w).
            class_logits: (N, C+1), void last.
            input_size: The padded network input, which the logits cover.
            image_size: The image, which lies in the top left corner of the input.
            output_size: The picture to make, normally the original image.

        Raises:
            UserError: the number of classes is not that of the merge.
        """
        if class_logits.shape[-1] != self.num_classes + 1:
            raise UserError(
                f'{type(self).__name__} was built for {self.num_classes} classes and void but the '
                f'model gives {class_logits.shape[-1]} channels: set num_things_classes and '
                'num_stuff_classes of both alike.'
            )
        geometry = Geometry(
            grid=tuple(mask_logits.shape[-2:]),
            input=tuple(input_size),
            image=tuple(image_size),
            output=tuple(output_size),
            align_corners=align_corners,
            two_step=self.two_step_resize,
        )
        with torch.autocast(mask_logits.device.type, enabled=False):
            # As in deeplab2 and kmax-deeplab: a softmax over all classes, then the best of those
            # that are not void. On the host, as that takes one copy and many steps.
            confidence, label = class_logits.float().cpu().softmax(-1)[:, :-1].max(-1)
            chosen = self.is_candidate(confidence, label)
            if self.class_thresholds is not None:
                least = torch.as_tensor(self.class_thresholds).to(confidence)[label]
                chosen = torch.where(least.isnan(), chosen, confidence >= least)
            # Candidates first, each group in the order of the centers.
            order = torch.argsort((~chosen).to(torch.uint8), stable=True)
            candidates = order[: int(chosen.sum())]
            if not len(candidates):
                shape, kind = geometry.output, torch.int32
                return PanopticResult(mask_logits.new_full(shape, self.num_classes, dtype=kind), [])
            order = order.to(mask_logits.device, non_blocking=True)
            table = point_table(mask_logits, order)
            confidence, label = (x[candidates].numpy() for x in (confidence, label))
            result = self.merge(table, confidence, label, geometry)
        if not self.separate_parts:
            return result
        found = separate_parts(
            result.segment_map,
            result.segments_info,
            void=self.num_classes,
            least_area=self._least_areas(geometry)[True],
        )
        return PanopticResult(*found)

    def traced_owner(
        self, mask_logits: Tensor, confidence: Tensor, chosen: Tensor, geometry: TracedGeometry
    ) -> tuple[Tensor, Tensor]:
        """Scores (N,) and the center of each pixel (H_o, W_o), -1 for none, as in :meth:`merge`."""
        raise self.lacks('traced_owner')

    def is_candidate(self, confidence: Tensor, label: Tensor) -> Tensor:
        """Which centers may be pasted, (N,) bool, from class probability and label (N,)."""
        raise self.lacks('is_candidate')

    def merge(
        self, table: Tensor, confidence: np.ndarray, label: np.ndarray, geometry: Geometry
    ) -> PanopticResult:
        """Merge logits (h*w, N), of which the first M are the candidates.

        ``confidence`` and ``label`` are the class probability and label of the candidates, (M,).
        """
        raise self.lacks('merge')

    def lacks(self, method: str) -> UserError:
        """The error about a subclass without a method."""
        return UserError(
            f'model.postprocess: {type(self).__name__} has no method {method}: write it, as '
            'PanopticMaskWiseMerge does.'
        )

    def _least_areas(self, geometry: Geometry) -> tuple[float, float]:
        """Pixels of the output that stuff and things must have."""
        scale = prod(geometry.input) / prod(self.area_reference)  # of the padded input
        scale *= prod(geometry.output) / prod(geometry.image)
        return tuple(area * scale for area in self.smallest_area)

    def assemble(
        self,
        occupancy: Occupancy,
        owner: np.ndarray,
        label: np.ndarray,
        score: np.ndarray,
        geometry: Geometry,
    ) -> PanopticResult:
        """Number the segments and drop the small ones.

        ``owner`` (U,) is the center that owns the pixels of each set of centers, -1 for none. All
        centers of one stuff class are one segment, with the score of the best of them. The area of
        a segment is what it owns in the end. A dropped segment leaves void behind.
        """
        least_areas = self._least_areas(geometry)
        segments: dict[tuple, list[int]] = {}
        owners = np.unique(owner[owner >= 0])
        for center in owners[np.argsort(-score[owners], kind='stable')].tolist():
            thing = label[center] < self.num_things_classes
            key = (center,) if thing else ('stuff', label[center])
            segments.setdefault(key, []).append(center)
        value_of_set = np.full(len(owner), self.num_classes, dtype=np.int32)
        info, instance = [], 0
        for centers in segments.values():
            member = np.isin(owner, centers)
            area, category = int(occupancy.set_pixels[member].sum()), int(label[centers[0]])
            thing = category < self.num_things_classes
            if area == 0 or area < least_areas[thing]:
                continue
            instance += thing
            value = map_value(category, instance * thing)
            value_of_set[member] = value
            best = float(score[centers[0]])
            info.append(dict(id=value, category_id=category, isthing=thing, score=best, area=area))
        return PanopticResult(occupancy.paint(value_of_set, geometry.output), info)


def tried_merge(merge: nn.Module, num_classes: int) -> nn.Module:
    """The merge, after it has merged two made-up centers; one that fails is left alone.

    Raises:
        UserError: the merge gives something else than a :class:`PanopticResult`.
    """
    draw = torch.Generator().manual_seed(0)
    masks, classes = (
        torch.rand(2, *rest, generator=draw, device='cpu') for rest in ((4, 4), (num_classes + 1,))
    )
    sizes = dict.fromkeys(('input_size', 'image_size', 'output_size'), (16, 16))
    try:
        with torch.device('cpu'):  # also where the model is built on the meta device
            result = merge(masks, classes, align_corners=False, **sizes)
    except UserError:
        raise
    except Exception:  # the slot's own check comes next
        return merge
    segment_map = getattr(result, 'segment_map', None)
    if getattr(segment_map, 'shape', None) != (16, 16) or not hasattr(result, 'segments_info'):
        raise UserError(
            f'model.postprocess: {type(merge).__name__} gives a {type(result).__name__} in place '
            'of a PanopticResult of cmt_deeplab.postprocess whose segment_map has output_size.'
        )
    return merge
