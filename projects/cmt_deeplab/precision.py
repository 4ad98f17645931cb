"""The one rule of numeric precision of this package.

Softmax, logarithms, norms of vectors and long sums are computed in fp32 or better, whatever the
precision of the tensors that come in. Under autocast, which would choose the precision itself, such
code also switches autocast off or converts its inputs here.
"""

import torch
from torch import Tensor


def at_least_fp32(tensor: Tensor) -> Tensor:
    """Convert bf16 and fp16 to fp32; fp32 and fp64 stay as they are."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def fp32_softmax(logits: Tensor, dim: int) -> Tensor:
    """Softmax over ``dim`` that is computed in fp32 and handed on in the dtype of ``logits``.

    The result takes part in matrix products, which may run in the lower precision.
    """
    return at_least_fp32(logits).softmax(dim).to(logits.dtype)
