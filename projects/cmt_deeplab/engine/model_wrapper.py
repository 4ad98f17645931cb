"""Distributed data parallel for GPUs and for the CPU."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import (
    MODEL_WRAPPERS,  # the root: mmengine looks wrappers up there, not in the scope of the config
)
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# torch 2.13's name, where both names of one argument exist
_KNOWN = signature(DistributedDataParallel.__init__).parameters
BUFFERS = 'forward_sync_buffers' if 'forward_sync_buffers' in _KNOWN else 'broadcast_buffers'


def _with_canonical_strides(grad: Tensor) -> Tensor:
    """The gradient of a depthwise (C, 1, k, k) or 1x1 kernel: back-ends give axes of length 1 other strides, which DDP warns of."""
    return grad.reshape(-1).view(grad.shape)


@MODEL_WRAPPERS.register_module()
class PanopticDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper without ``device_ids`` where the module lies on the CPU (torch refuses them there).

    Buffers are not broadcast: a synchronized norm keeps its statistics equal by itself.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        device_ids: Sequence[int] | None = None,
        broadcast_buffers: bool = False,
        **kwargs: Any,
    ) -> None:
        for parameter in module.parameters():
            if parameter.requires_grad and 1 in parameter.shape and parameter.is_contiguous():
                parameter.register_hook(_with_canonical_strides)
        on_gpu = next(module.parameters()).is_cuda
        super().__init__(
            module=module,
            device_ids=device_ids if on_gpu else None,
            **{BUFFERS: broadcast_buffers},
            **kwargs,
        )
