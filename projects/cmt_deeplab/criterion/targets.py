"""The ground truth of a batch, brought to the size of each prediction and shared by all losses."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import plane_at_stride
from cmt_deeplab.structures import NUM_REFERENCE_POINTS, MatchResult, PanopticTarget

from .reference_points import segment_reference_points

Generators = torch.Generator | Sequence[torch.Generator] | None

# Each segment's sum is kept in this many interleaved parts, so that neighboring pixels do not queue
# for one address on a GPU, and no single fp32 accumulator has to take up a whole plane.
PARTS = 32


def segment_sum(values: Tensor, segment: Tensor, num_buckets: int) -> Tensor:
    """Sum values over the pixels of each segment, without one-hot masks.

    The gradient is a gather of the incoming one. Beside the values, the sum needs memory for
    B x C x num_buckets x 32 numbers.

    Args:
        values: (B, C, P).
        segment: (B, P) int64, the bucket of each pixel in 0..num_buckets-1.

    Returns:
        (B, C, num_buckets).
    """
    batch, channels, pixels = values.shape
    part = torch.arange(pixels, device=segment.device) % PARTS  # (P,)
    # The expanded view lets the channels share one plane of buckets.
    bucket = (segment * PARTS + part)[:, None].expand(batch, channels, pixels)
    sums = values.new_zeros(batch, channels, num_buckets * PARTS).scatter_add(2, bucket, values)
    return sums.view(batch, channels, num_buckets, PARTS).sum(-1)


def to_centers(values: Tensor, centers: Tensor, fill: Tensor) -> Tensor:
    """Give each matched center the value of its segment.

    Args:
        values: (B, K+1), one for each segment.
        centers: (B, K+1) int64, the center of each segment, or -1.
        fill: (B, N), the values of the centers that are matched with nothing.

    Returns:
        (B, N).
    """
    number = fill.shape[1]
    goal = torch.where(centers >= 0, centers, number)  # column N takes what nobody wants
    return F.pad(fill, (0, 1)).scatter(1, goal, values)[:, :number]


@dataclass(frozen=True)
class StagePlane:
    """Ground truth at the size of one prediction, P = h * w pixels.

    Tables have K+1 columns, where K is the largest number of segments in the batch. The last
    column stands for the pixels of no segment: void, crowds and padding.
    """

    segment: Tensor  # (B, P) int64, 0..K
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
    num_segments: list[int]  # the number of segments of each image
    num_things_classes: int | None = None
    _stages: dict[tuple[int, int], StagePlane] = field(default_factory=dict, repr=False)

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
        num_segments = [len(target.labels) for target in targets]
        labels = targets[0].labels.new_zeros(len(targets), max(num_segments) + 1, dtype=torch.int64)
        for row, target in zip(labels, targets):
            row[: len(target.labels)] = target.labels
        index = torch.stack([target.index for target in targets])
        return cls(index, labels, num_segments, num_things_classes)

    @cached_property
    def counts(self) -> Tensor:
        """(B,) int64: ``num_segments`` on the device."""
        return torch.tensor(self.num_segments, device=self.labels.device)

    @cached_property
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

    @cached_property
    def reference_points(self) -> Tensor:
        """(B, K+1, R, 2): reference points at full resolution, zeros where there is no segment."""
        points = torch.zeros(*self.labels.shape, NUM_REFERENCE_POINTS, 2, device=self.index.device)
        for row, index, number in zip(points, self.index, self.num_segments):
            row[:number] = segment_reference_points(index, number)
        return points

    def at(self, prediction: Tensor) -> StagePlane:
        """The ground truth at the pixels of a prediction (B, ..., h, w).

        See :func:`cmt_deeplab.geometry.plane_at_stride` for the pixels that it keeps.

        Raises:
            UserError: the prediction has another number of images.
        """
        if len(prediction) != len(self.index):
            raise UserError(
                f'The criterion got {len(self.index)} targets for {len(prediction)} images: give '
                'one for each image.'
            )
        size = tuple(prediction.shape[-2:])
        if size not in self._stages:
            index = plane_at_stride(self.index, size).flatten(1).long()  # (B, P)
            absent = max(self.num_segments)
            known = (index >= 0) & (index < self.counts[:, None])
            segment = torch.where(known, index, absent)
            area = segment_sum(known[:, None].float(), segment, absent + 1)[:, 0]
            self._stages[size] = StagePlane(segment=segment, area=area)
        return self._stages[size]


def _uniform(shape: Sequence[int], device: torch.device, generator: Generators) -> Tensor:
    """(B, P) uniform numbers in [0, 1), drawn by one generator, or by one per image."""
    if generator is None or isinstance(generator, torch.Generator):
        source = device if generator is None else generator.device
        return torch.rand(shape, generator=generator, device=source).to(device)
    if len(generator) != shape[0]:
        raise UserError(
            f'{len(generator)} generators were given for a batch of {shape[0]} images: give one '
            'for each, or a single one.'
        )
    return torch.cat([_uniform((1, shape[1]), device, own) for own in generator])


@torch.no_grad()
def sample_pixels(
    stage: StagePlane, number: int | None, temperature: float, generator: Generators = None
) -> tuple[Tensor, Tensor]:
    """Draw labeled pixels of each image without replacement, favoring small segments.

    This is a Gumbel top-k over the labeled pixels with the logits
    ``temperature * log(P / area of the pixel's own segment)``, as in deeplab2. An image with fewer
    labeled pixels than are drawn gives all of them, and the rest is marked as not valid, so shapes
    never depend on the data. If ``number`` is None or not below P, all pixels are taken.

    Returns:
        Positions (B, k) int64 with k = min(number, P), and whether they are labeled, (B, k) bool.
    """
    labeled = stage.labeled
    batch, pixels = labeled.shape
    if number is None or pixels <= number:
        return torch.arange(pixels, device=labeled.device).expand(batch, pixels), labeled
    area = stage.area.gather(1, stage.segment).clamp(min=1)
    # The logarithms need numbers inside of (0, 1). fp32 never draws 1, and 0 is moved.
    uniform = _uniform(labeled.shape, labeled.device, generator)
    uniform = uniform.clamp(min=torch.finfo(torch.float32).tiny)
    score = temperature * torch.log(pixels / area) - torch.log(-torch.log(uniform))
    position = torch.where(labeled, score, float('-inf')).topk(number, dim=1, sorted=False).indices
    return position, labeled.gather(1, position)
