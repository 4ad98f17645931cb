"""The ground truth of a batch, brought to each stage's size once and shared by all losses of a call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Union

import torch
from torch import Tensor

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import plane_at_stride
from cmt_deeplab.structures import VOID_INDEX, MatchResult, PanopticTarget

from .reference_points import segment_reference_points
from .segment_sum import segment_sum


@dataclass(frozen=True)
class StagePlane:
    """Ground truth at one prediction's size, P = h*w pixels. Tables have K+1 columns; the last stands for pixels of no segment.

    K is the largest number of segments in the batch: an image with fewer has absent ones at the end.
    """

    segment: Tensor  # (B, P) int64, 0..K; K on void, crowd and padding
    void: Tensor  # (B, P) bool, void and crowd; not padding
    area: Tensor  # (B, K+1) float32, pixels of each segment at this size; 0 in column K
    labels: Tensor  # (B, K+1) int64; 0 where there is no segment

    @property
    def num_segments(self) -> int:
        return self.area.shape[1] - 1

    @property
    def labeled(self) -> Tensor:
        """(B, P) bool: the pixel belongs to a segment."""
        return self.segment < self.num_segments

    @property
    def present(self) -> Tensor:
        """(B, K+1) bool: the segment still has a pixel at this size. A segment that has none takes no part in the stage."""
        return self.area > 0


@dataclass
class SegmentPlanes:
    """Targets of a batch, stacked, with what several losses derive from them (computed on first use, kept for the call)."""

    index: Tensor  # (B, H, W)
    labels: Tensor  # (B, K+1) int64
    num_segments: list[int]  # B numbers, each image's own K
    counts: Tensor  # (B,) int64, the same on the device
    _stages: dict[tuple[int, int], StagePlane] = field(default_factory=dict, repr=False)
    _points: list[Tensor] = field(default_factory=list, repr=False)
    _of_match: dict[tuple[int, Any], tuple[MatchResult, Any]] = field(
        default_factory=dict, repr=False
    )

    @classmethod
    def of(cls, targets: Union['SegmentPlanes', Sequence[PanopticTarget]]) -> 'SegmentPlanes':
        """Stack a batch of targets; what is stacked already is handed back.

        Raises:
            ValueError: the batch is empty, or its planes differ in size.
        """
        if isinstance(targets, cls):
            return targets
        if not targets:
            raise UserError(
                'The criterion got an empty list of targets: give one PanopticTarget for each image of the batch.'
            )
        sizes = {tuple(target.index.shape) for target in targets}
        if len(sizes) != 1:
            raise UserError(
                f'The index planes of the batch differ in size ({sorted(sizes)}): pad them to one size, padding being -2.'
            )
        num_segments = [len(target.labels) for target in targets]
        labels = targets[0].labels.new_zeros(len(targets), max(num_segments) + 1, dtype=torch.int64)
        for row, target in zip(labels, targets):
            row[: len(target.labels)] = target.labels
        return cls(
            index=torch.stack([target.index for target in targets]),
            labels=labels,
            num_segments=num_segments,
            counts=torch.tensor(num_segments, device=labels.device),
        )

    def at(self, size: tuple[int, int]) -> StagePlane:
        """The ground truth at a prediction of ``size`` (h, w); see :func:`plane_at_stride` for the pixels it keeps."""
        size = tuple(size)
        if size not in self._stages:
            index = plane_at_stride(self.index, size).flatten(1).long()  # (B, P)
            absent = max(self.num_segments)
            segment = torch.where(
                (index >= 0) & (index < self.counts[:, None]), index, index.new_full((), absent)
            )
            area = segment_sum((segment < absent)[:, None].float(), segment, absent + 1)[:, 0]
            self._stages[size] = StagePlane(
                segment=segment, void=index == VOID_INDEX, area=area, labels=self.labels
            )
        return self._stages[size]

    def slots(self, match: MatchResult, stage: StagePlane) -> Tensor:
        """(B, K+1) int64: the slot matched to each segment that is present in the stage, -1 for all others and in column K."""

        def table() -> Tensor:
            result = torch.full_like(self.labels, -1)
            for row, slots, segments in zip(result, match.slots, match.segments):
                row.scatter_(0, segments, slots)
            return result

        return torch.where(stage.present, self.once_a_match(match, 'slots', table), -1)

    def once_a_match(self, match: MatchResult, what: Any, compute: Callable[[], Any]) -> Any:
        """What ``compute`` gives, computed at the first of the stages that share a match; ``what`` tells one such result from another."""
        key = (id(match), what)
        if key not in self._of_match:
            self._of_match[key] = (
                match,
                compute(),
            )  # the match is kept too, so that its id stays its own
        return self._of_match[key][1]

    @property
    def reference_points(self) -> Tensor:
        """(B, K+1, 5, 2): reference points on the full-resolution plane, zeros where an image has fewer segments."""
        if not self._points:
            points = torch.zeros(*self.labels.shape, 5, 2, device=self.index.device)
            for row, index, number in zip(points, self.index, self.num_segments):
                row[:number] = segment_reference_points(index, number)
            self._points.append(points)
        return self._points[0]
