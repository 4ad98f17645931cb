"""Frozen records that travel between the parts.

Letters, here and everywhere in the package: ``B`` batch, ``L`` prediction stages, ``N`` cluster centres, ``K`` ground-truth segments
of one image, ``C`` classes without void, ``D`` channels, ``R`` reference points, ``h`` heads, ``H, W`` height and width.
"""
from dataclasses import dataclass
from typing import Optional, Sequence

from torch import Tensor

VOID_INDEX = -1  # unlabelled pixels and crowds: no segment, no loss
PADDING_INDEX = -2  # outside the image: no loss, and not part of the image's void either


@dataclass(frozen=True)
class MaskPrediction:
    """What a predictor says of one stage; the last class channel is void.

    ``pixel_features`` are L2-normalised over their channels. ``reference_points`` are (x, y) in [0, 1] of the padded input.
    """
    mask_logits: Tensor  # (B, N, H, W)
    class_logits: Tensor  # (B, N, C+1)
    pixel_features: Tensor  # (B, 128, H, W)
    reference_points: Optional[Tensor] = None  # (B, N, R, 2)


@dataclass(frozen=True)
class PanopticTarget:
    """Ground truth of one image: a plane of segment indices and one label a segment.

    ``index`` holds k in 0..K-1 where a pixel belongs to segment k, ``VOID_INDEX`` on void and crowd, ``PADDING_INDEX`` on padding.
    """
    index: Tensor  # (H, W) int16
    labels: Tensor  # (K,) int64, contiguous classes, things first


@dataclass(frozen=True)
class MatchResult:
    """Which centre took which segment, one entry an image of the batch; all tensors on the predictions' device.

    Row m of an image says: centre ``slots[m]`` is matched to segment ``segments[m]``.
    """
    slots: Sequence[Tensor]  # B x (M,) int64
    segments: Sequence[Tensor]  # B x (M,) int64
    prediction: Optional[MaskPrediction] = None  # what was matched
