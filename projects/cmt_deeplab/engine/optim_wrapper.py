"""Mixed precision on GPUs and on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from cmt_deeplab.errors import UserError


@OPTIM_WRAPPERS.register_module()
class PanopticAmpOptimWrapper(OptimWrapper):
    """Autocast in fp16 or bf16 around the step; mmengine's AmpOptimWrapper refuses the CPU and scales the loss in bf16 too.

    ``dtype`` None is float16 on a GPU, as in mmengine, and bfloat16 on the CPU. ``loss_scale`` is 'dynamic', a number (static) or the
    arguments of ``torch.amp.GradScaler``; it acts in float16 alone, as bfloat16 has the exponents of float32.

    Raises:
        ValueError: float16 on the CPU, or another dtype than the two.
    """

    def __init__(
        self, *, dtype: str | None = None, loss_scale: str | float | dict = 'dynamic', **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.device_type = torch.device(get_device()).type
        dtype = dtype or ('float16' if self.device_type == 'cuda' else 'bfloat16')
        if dtype not in ('float16', 'bfloat16'):
            raise UserError(f"optim_wrapper.dtype is '{dtype}'; use 'float16' or 'bfloat16'.")
        if dtype == 'float16' and self.device_type != 'cuda':
            raise UserError("optim_wrapper.dtype='float16' needs a GPU; use 'bfloat16' on the CPU.")
        self.cast_dtype = getattr(torch, dtype)
        self._static_scale = None
        scaler = {'enabled': dtype == 'float16'}
        if isinstance(loss_scale, dict):
            scaler.update(loss_scale)
        elif loss_scale != 'dynamic':
            self._static_scale = float(loss_scale)
            scaler['init_scale'] = self._static_scale
        self.loss_scaler = torch.amp.GradScaler(
            self.device_type if scaler['enabled'] else 'cpu', **scaler
        )

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update(self._static_scale if self.loss_scaler.is_enabled() else None)

    def state_dict(self) -> dict:
        state = super().state_dict()
        state['loss_scaler'] = self.loss_scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if (
            scaler and self.loss_scaler.is_enabled()
        ):  # a checkpoint of fp32 or bf16 training has none
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        with (
            super().optim_context(model),
            torch.autocast(device_type=self.device_type, dtype=self.cast_dtype),
        ):
            yield
