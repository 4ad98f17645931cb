"""What one operation costs on a GPU: kernels, floating-point operations, bytes and seconds.

The seconds are those of an H100 or H200. A kernel takes a constant time to start, plus the longer
of two times: that of its operations and that of its bytes, each at a share of the rate in the data
sheet. For batch norms the second part is a time for each number. The shares are fitted to steps
measured on an H200, and the time of the norms to six on an H100 (docs/measurements.md).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

PEAK = {torch.bfloat16: 989e12, torch.float16: 989e12, torch.float32: 67e12}  # FLOPs per second
PEAK_TF32 = 494e12  # of convolutions in fp32
BANDWIDTH = 4.8e12  # bytes per second
PEAK_SHARE, BANDWIDTH_SHARE = 0.25, 0.35
KERNEL, NORM = 4e-6, 5.3e-12  # seconds to start, and for each number of a batch norm
# Operators that launch no kernel, that do not read their argument, and that read a part of it.
FREE = {'empty', 'empty_like', 'new_empty', 'empty_strided', 'detach', '_unsafe_view', 'lift_fresh'}
FILLS = {'zero_', 'fill_', 'zeros', 'ones', 'full', 'zeros_like', 'ones_like', 'full_like'}
GATHERS = {'gather', 'index_select', 'index', 'embedding'}


@dataclass
class Work:
    """What operations cost; they are added up."""

    kernels: int = 0
    flops: float = 0.0
    bytes: float = 0.0
    seconds: float = 0.0

    def add(self, other: 'Work') -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


def tensors(*values: Any) -> list[Tensor]:
    """All tensors inside of ``values``."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def work_of(func: Any, args: tuple, kwargs: dict, out: Any) -> Work:
    """The cost of a call of an operator of torch with these arguments and the result ``out``."""
    name, read, wrote = func._overloadpacket.__name__, tensors(args, kwargs), tensors(out)
    if func.is_view or name in FREE or func.namespace == 'prim':
        return Work()
    written = sum(size_of(tensor) for tensor in {id(t): t for t in wrote}.values())
    sizes = {id(t): min(size_of(t), t.untyped_storage().nbytes()) for t in read}
    if name in FILLS:
        sizes = {}
    elif name in GATHERS:
        sizes[id(args[0])] = min(sizes[id(args[0])], written)
    moved, flops = sum(sizes.values()) + written, flops_of(func, name, args, kwargs, out)
    dtype = read[0].dtype if read else None
    tf32 = name.startswith('convolution') and dtype == torch.float32
    peak = PEAK_TF32 if tf32 else PEAK.get(dtype, PEAK[torch.float32])
    seconds = max(flops / (PEAK_SHARE * peak), moved / (BANDWIDTH_SHARE * BANDWIDTH))
    if 'batch_norm' in name:
        seconds = NORM * moved / read[0].element_size()
    return Work(1, flops, moved, KERNEL + seconds)


def size_of(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def flops_of(func: Any, name: str, args: tuple, kwargs: dict, out: Any) -> float:
    """The floating-point operations, as torch counts them.

    Gradients of grouped convolutions are counted here, as torch counts them as dense. Operations
    that torch does not count, such as sums, count as 0; they take the time of their bytes.
    """
    if name == 'convolution_backward':
        grad, _, weight, *_, needed = args
        return 2 * grad.numel() * weight[0].numel() * sum(needed[:2])
    count = flop_registry.get(func._overloadpacket)
    return count(*args, **kwargs, out_val=out) if count else 0.0
