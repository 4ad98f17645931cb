"""What every layer of the family returns."""

from typing import NamedTuple

from torch import Tensor

from cmt_deeplab.structures import MaskPrediction


class LayerOutput(NamedTuple):
    """``assignment`` is what the layer pooled or fed its pixels with, for pictures and the residual path of the next layer's logits."""

    pixels: Tensor  # (B, Dp, H, W)
    centers: Tensor  # (B, D, N)
    logits: Tensor | None  # (B, h, N, H, W), None where the layer has none to hand on
    prediction: (
        MaskPrediction | None
    )  # None where neither supervision nor the layer itself asks for it
