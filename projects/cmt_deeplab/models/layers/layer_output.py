"""What every layer of the family returns."""
from typing import NamedTuple, Optional

from torch import Tensor

from ...structures import MaskPrediction


class LayerOutput(NamedTuple):
    """``assignment`` is what the layer pooled or fed its pixels with, for pictures and the residual path of the next layer's logits."""
    pixels: Tensor  # (B, Dp, H, W)
    centres: Tensor  # (B, D, N)
    logits: Optional[Tensor]  # (B, h, N, H, W), None where the layer has none to hand on
    prediction: Optional[MaskPrediction]  # None where neither supervision nor the layer itself asks for it
