"""Frozen records that travel between the parts.

Letters, here and everywhere in the package: ``B`` batch, ``L`` prediction stages, ``N`` cluster centers, ``K`` ground-truth segments
of one image, ``C`` classes without void, ``D`` channels, ``R`` reference points, ``h`` heads, ``H, W`` height and width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

VOID_INDEX = -1  # unlabeled pixels and crowds: no segment, no loss
PADDING_INDEX = -2  # outside the image: no loss, and not part of the image's void either


@dataclass(frozen=True)
class MaskPrediction:
    """What a predictor says of one stage; the last class channel is void.

    ``pixel_features`` are L2-normalized over their channels. ``reference_points`` are (x, y) in [0, 1] of the padded input.
    """

    mask_logits: Tensor  # (B, N, H, W)
    class_logits: Tensor  # (B, N, C+1)
    pixel_features: Tensor  # (B, 128, H, W)
    reference_points: Tensor | None = None  # (B, N, R, 2)


@dataclass(frozen=True)
class PanopticTarget:
    """Ground truth of one image: a plane of segment indices and one label a segment.

    ``index`` holds k in 0..K-1 where a pixel belongs to segment k, ``VOID_INDEX`` on void and crowd, ``PADDING_INDEX`` on padding.
    """

    index: Tensor  # (H, W) int16
    labels: Tensor  # (K,) int64, contiguous classes, things first


@dataclass(frozen=True)
class MatchResult:
    """Which center took which segment, one entry an image of the batch; all tensors on the predictions' device.

    Row m of an image says: center ``slots[m]`` is matched to segment ``segments[m]``.
    """

    slots: Sequence[Tensor]  # B x (M,) int64
    segments: Sequence[Tensor]  # B x (M,) int64
    prediction: MaskPrediction | None = None  # what was matched
