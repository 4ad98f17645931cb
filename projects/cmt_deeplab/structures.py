"""Records that travel between the parts of the package, and the words that all parts share.

A *cluster center* (*center* for short) is a vector of ``D`` channels that stands for one segment of
an image, or for none. The network starts from ``N`` learned centers, and its layers update them
from the pixels. A predictor then gives each center a class and, at every pixel, a mask logit; a
softmax of the mask logits over the centers says which center the pixel belongs to. Transformers
for detection call the same thing a query, MaX-DeepLab's paper a memory, deeplab2 a mask slot.

A *segment* is a connected or scattered set of pixels with one class: an instance of a thing class,
or all pixels of a stuff class. *Void* are the pixels that no segment holds.

Letters in shapes, everywhere in the package: ``B`` batch, ``L`` prediction stages, ``N`` cluster
centers, ``K`` ground-truth segments of one image, ``C`` classes without void, ``D`` channels,
``R`` reference points, ``h`` heads, ``H, W`` height and width.
"""

from dataclasses import dataclass

from torch import Tensor

VOID_INDEX = -1  # unlabeled pixels and crowds: they belong to no segment
NUM_REFERENCE_POINTS = 5  # R: mass center; top, left, bottom and right extreme point
MMDET_VOID = 255  # what mmdet writes into a class map (gt_seg_map) where there is no class
PADDING_INDEX = -2  # pixels outside of the image: they belong to no segment either


@dataclass(frozen=True)
class MaskPrediction:
    """The prediction of one stage. The last class channel is void.

    ``pixel_features`` are L2-normalized over their channels. ``reference_points`` are (x, y)
    positions in the frame of the padded input, which spans [0, 1] on both axes.
    """

    mask_logits: Tensor  # (B, N, H, W)
    class_logits: Tensor  # (B, N, C+1)
    pixel_features: Tensor  # (B, 128, H, W)
    reference_points: Tensor | None = None  # (B, N, R, 2)


@dataclass(frozen=True)
class PanopticTarget:
    """Ground truth of one image: a plane of segment indices, and one label per segment.

    ``index`` is k in 0..K-1 where a pixel belongs to segment k, ``VOID_INDEX`` on void and crowds,
    and ``PADDING_INDEX`` on padding.
    """

    index: Tensor  # (H, W) int16
    labels: Tensor  # (K,) int64, contiguous classes, things first


@dataclass(frozen=True)
class MatchResult:
    """Which center is matched to which segment, and how good the matched prediction is there.

    K is the largest number of segments in the batch. The last of the K+1 columns stands for the
    pixels of no segment and is never matched. ``probability`` and ``dice`` mean nothing where
    ``centers`` is -1. No tensor has a gradient; all are on the device of the prediction.

    Where the images could not be compared because numbers were not finite, ``not_finite`` says of
    what, and the matching is arbitrary: the losses made from it must not be trained.
    """

    centers: Tensor  # (B, K+1) int64, the center of each segment, or -1
    probability: Tensor  # (B, K+1), that the center has the segment's class
    dice: Tensor  # (B, K+1), Dice of the center's mask and the segment
    void_share: Tensor  # (B, N), the share of each center's mask that lies on no segment
    not_finite: str | None = None  # 'class_logits', 'mask_logits' or 'match_costs'
