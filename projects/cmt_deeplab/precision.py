"""The one rule of numeric precision: softmax, logarithms, norms of vectors and long sums are computed in fp32 or better."""

import torch
from torch import Tensor


def at_least_fp32(tensor: Tensor) -> Tensor:
    """bf16 and fp16 become fp32; fp32 and fp64 stay."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
