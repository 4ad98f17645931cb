"""The ground truth of a batch, brought to the size of each prediction and shared by all losses."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import plane_at_stride
from cmt_deeplab.reference_points import segment_reference_points
from cmt_deeplab.structures import MatchResult, PanopticTarget

Generators = torch.Generator | Sequence[torch.Generator] | None

# Each segment's sum is kept in this many interleaved parts, so that neighboring pixels do not queue
# for one address on a GPU, and no single fp32 accumulator has to take up a whole plane.
PARTS = 32

ABSENT = -(2**31)  # fills up the labels of images that have fewer segments than others


class computed_once:  # noqa: N801  a decorator
    """An attribute that is computed when it is first read.

    ``functools.cached_property`` takes a lock before Python 3.12, which torch.compile cannot.
    """

    def __init__(self, compute: Callable) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __get__(self, one: Any, owner: type | None = None) -> Any:
        values, name = vars(one), self.compute.__name__
        if name not in values:
            values[name] = self.compute(one)
        return values[name]


def segment_sum(values: Tensor, bucket: Tensor, num_segments: int) -> Tensor:
    """Sum values over the pixels of each segment, without one-hot masks.

    The gradient is a gather of the incoming one. Beside the values, the sum needs memory for
    B x C x (K+1) x 32 numbers.

    Args:
        values: (..., B, C, P).
        bucket: (..., B, P) int64, see :func:`buckets`.
        num_segments: K.

    Returns:
        (..., B, C, K+1); the last column is that of the pixels of no segment.
    """
    # The expanded view lets the channels share one plane of buckets.
    sums = values.new_zeros(*values.shape[:-1], (num_segments + 1) * PARTS)
    sums = sums.scatter_add(-1, bucket[..., None, :].expand_as(values), values)
    return sums.unflatten(-1, (-1, PARTS)).sum(-1)


def buckets(segment: Tensor) -> Tensor:
    """(B, P) int64: which sum each pixel is a part of, from the segment 0..K of each pixel."""
    part = torch.arange(segment.shape[1], device=segment.device) % PARTS
    return torch.add(part, segment, alpha=PARTS)


def to_centers(values: Tensor, centers: Tensor, fill: Tensor) -> Tensor:
    """Give each matched center the value of its segment.

    Args:
        values: (B, K+1), one for each segment.
        centers: (..., B, K+1) int64, the center of each segment, or -1.
        fill: (B, N), the values of the centers that are matched with nothing.

    Returns:
        (..., B, N).
    """
    number = fill.shape[-1]
    goal = torch.where(centers >= 0, centers, number)  # column N takes what nobody wants
    found = F.pad(fill, (0, 1)).expand(*goal.shape[:-1], -1)
    return found.scatter(-1, goal, values.expand_as(goal))[..., :number]


@dataclass(frozen=True)
class StagePlane:
    """Ground truth at the size of one prediction, P = h * w pixels.

    Tables have K+1 columns, where K is the largest number of segments in the batch. The last
    column stands for the pixels of no segment: void, crowds and padding.
    """

    segment: Tensor  # (B, P) int64, 0..K
    bucket: Tensor  # (B, P) int64, see :func:`buckets`
    area: Tensor  # (B, K+1) float32, pixels of each segment at this size; 0 in column K

    @property
    def num_segments(self) -> int:
        return self.area.shape[1] - 1

    @property
    def labeled(self) -> Tensor:
        """(B, P) bool: the pixel belongs to a segment."""
        return self.segment < self.num_segments

    @property
    def present(self) -> Tensor:
        """(B, K+1) bool: the segment has a pixel at this size. Others take no part in the stage."""
        return self.area > 0

    def matched_centers(self, match: MatchResult) -> Tensor:
        """(B, K+1) int64: the center of each segment that is present, and -1 for all others."""
        return torch.where(self.present, match.centers, -1)


@dataclass
class SegmentPlanes:
    """Stacked targets of a batch, and what several losses derive from them.

    Everything derived is computed on first use and kept, so make one object per call.
    """

    index: Tensor  # (B, H, W)
    labels: Tensor  # (B, K+1) int64; 0 where there is no segment
    counts: Tensor  # (B,) int64, the number of segments of each image
    num_segments: list[int]  # the same on the host
    num_things_classes: int | None = None
    _stages: dict[tuple[int, int], StagePlane] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        targets: 'SegmentPlanes | Sequence[PanopticTarget]',
        num_things_classes: int | None = None,
    ) -> 'SegmentPlanes':
        """Stack the targets of a batch; targets that are stacked already are handed back.

        Raises:
            UserError: the batch is empty, or its planes differ in size.
        """
        if isinstance(targets, cls):
            return targets
        sizes = {tuple(target.index.shape) for target in targets}
        if len(sizes) != 1:
            raise UserError(
                f'The index planes of the batch have the sizes {sorted(sizes)}: give one '
                'PanopticTarget per image, and pad their planes with -2 to one size.'
            )
        labels = [target.labels for target in targets]
        index = torch.stack([target.index for target in targets])
        table = pad_sequence(labels, batch_first=True, padding_value=ABSENT)
        table = F.pad(table, (0, 1), value=ABSENT).long()  # (B, K+1)
        known = table != ABSENT  # counted on the device, as a copy from the host could make it wait
        number = [len(own) for own in labels]
        return cls(index, table.where(known, 0), known.sum(1), number, num_things_classes)

    @computed_once
    def of_things(self) -> Tensor:
        """(B, K+1) bool: the label is a thing class; always true if their number is not known."""
        if self.num_things_classes is None:
            return torch.ones_like(self.labels, dtype=torch.bool)
        return self.labels < self.num_things_classes

    def own_centers(self, number: int, num_classes: int) -> Tensor:
        """Which of ``number`` centers each segment may have, (B, N, K+1) bool.

        The last centers belong to the stuff classes, in the order of the labels, one to each; the
        others are left to things.
        """
        things = num_classes if self.num_things_classes is None else self.num_things_classes
        own = torch.arange(num_classes - number, num_classes, device=self.labels.device)[:, None]
        labels = self.labels[:, None]
        return torch.where(labels < things, own < things, own == labels)

    @computed_once
    def segment(self) -> Tensor:
        """(B, H, W), of the type of ``index``: the segment of each pixel, K where there is none."""
        known = (self.index >= 0) & (self.index < self.counts[:, None, None])
        return self.index.masked_fill(~known, self.labels.shape[1] - 1)

    @computed_once
    def reference_points(self) -> Tensor:
        """(B, K+1, R, 2): reference points at full resolution, some where there is no segment."""
        return segment_reference_points(self.segment, self.labels.shape[1])

    def at(self, prediction: Tensor) -> StagePlane:
        """The ground truth at the pixels of a prediction (B, ..., h, w).

        See :func:`cmt_deeplab.geometry.plane_at_stride` for the pixels that it keeps.

        Raises:
            UserError: the prediction has another number of images.
        """
        if len(prediction) != len(self.labels):
            raise UserError(
                f'The criterion got {len(self.labels)} targets for {len(prediction)} images: give '
                'one for each image.'
            )
        size = tuple(prediction.shape[-2:])
        if size not in self._stages:
            segment = plane_at_stride(self.segment, size)
            segment = segment.to(torch.int64, memory_format=torch.contiguous_format).flatten(1)
            number, bucket = self.labels.shape[1] - 1, buckets(segment)
            ones = torch.ones(1, device=segment.device).expand(len(segment), 1, segment.shape[1])
            area = F.pad(segment_sum(ones, bucket, number)[:, 0, :-1], (0, 1))
            self._stages[size] = StagePlane(segment, bucket, area)
        return self._stages[size]
