"""Mixed precision, with which no update that is not finite is applied either."""

from typing import Any

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper, OptimWrapper

from cmt_deeplab.errors import UserError

from .wrappers import PanopticOptimWrapper


@OPTIM_WRAPPERS.register_module(name=['PanopticScaledOptimWrapper', 'AmpOptimWrapper'])
class PanopticScaledOptimWrapper(PanopticOptimWrapper, AmpOptimWrapper):
    """mmengine's ``AmpOptimWrapper``, which applies no update that is not finite."""


@OPTIM_WRAPPERS.register_module()
class PanopticAmpOptimWrapper(PanopticOptimWrapper, AmpOptimWrapper):
    """mmengine's mixed precision, which refuses the CPU and scales the loss in bfloat16 too.

    Here ``dtype`` None means float16 on a GPU, as in mmengine, and bfloat16 on the CPU.
    ``loss_scale`` is 'dynamic', a number (static) or the arguments of ``torch.amp.GradScaler``; it
    acts in float16 alone, as bfloat16 has the exponents of float32. While a dynamic scale falls,
    the updates that it skips are no faults, unless the loss is not finite.

    Raises:
        UserError: float16 on the CPU, or another dtype than the two.
    """

    def __init__(
        self,
        *,
        dtype: str | None = None,
        loss_scale: str | float | dict = 'dynamic',
        skip_not_finite: bool | int = False,
        **kwargs: Any,
    ) -> None:
        OptimWrapper.__init__(self, **kwargs)  # that of AmpOptimWrapper refuses the CPU
        self._watch(skip_not_finite)
        device = torch.device(get_device()).type
        dtype = dtype or ('float16' if device == 'cuda' else 'bfloat16')
        if dtype not in ('float16', 'bfloat16'):
            raise UserError(f"optim_wrapper.dtype is '{dtype}'; use 'float16' or 'bfloat16'.")
        if dtype == 'float16' and device != 'cuda':
            raise UserError("optim_wrapper.dtype='float16' needs a GPU; use 'bfloat16' on the CPU.")
        self.cast_dtype = getattr(torch, dtype)
        self._scale_update_param = None
        scaler = {'enabled': dtype == 'float16'}
        if isinstance(loss_scale, dict):
            scaler.update(loss_scale)
        elif loss_scale != 'dynamic':
            self._scale_update_param = scaler['init_scale'] = float(loss_scale)
        self.loss_scaler = torch.amp.GradScaler(device if scaler['enabled'] else 'cpu', **scaler)

    def load_state_dict(self, state_dict: dict) -> None:
        """Load the optimizer, and the dynamic scale where the checkpoint is of float16 training."""
        state_dict = dict(state_dict)
        stored, own = state_dict.pop('loss_scaler', None), self.loss_scaler.state_dict()
        if own and stored and self._scale_update_param is None:
            found = {key: stored[key] for key in ('scale', '_growth_tracker')}
            self.loss_scaler.load_state_dict({**own, **found})
        super().load_state_dict(state_dict)
