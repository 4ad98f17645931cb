"""Distributed data parallel for GPUs and for the CPU."""
from typing import Any, Optional, Sequence

from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS  # the root: mmengine looks wrappers up there, not in the scope of the config
from torch import nn


@MODEL_WRAPPERS.register_module()
class PanopticDistributedDataParallel(MMDistributedDataParallel):
    """mmengine's wrapper without ``device_ids`` where the module lies on the CPU (torch refuses them there).

    Buffers are not broadcast: a synchronised norm keeps its statistics equal by itself.
    """

    def __init__(self, module: nn.Module, *, device_ids: Optional[Sequence[int]] = None, broadcast_buffers: bool = False,
                 **kwargs: Any) -> None:
        on_gpu = next(module.parameters()).is_cuda
        super().__init__(module=module, device_ids=device_ids if on_gpu else None, broadcast_buffers=broadcast_buffers, **kwargs)
