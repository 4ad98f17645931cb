"""The norm of the package: one batch norm for any number of axes, synchronized on any back-end."""

from math import gcd
from typing import Any

import torch
import torch.distributed as dist
from mmdet.registry import MODELS
from mmengine.dist import get_world_size
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32

from .contiguous_grad import contiguous_grad

DEFAULT_NORM = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)  # the sources' values


class _AllReduce(torch.autograd.Function):
    """Sum over all processes whose gradient is summed over all processes too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


# In mmengine's root registry, where mmcv keeps its norms: a backbone of any code base finds it there.
@ROOT_MODELS.register_module()
class PanopticSyncBN(_BatchNorm):
    """Batch norm over all axes but 1 of (B, C, ...); over all processes where a process group runs, gloo on a CPU included.

    Unlike ``torch.nn.SyncBatchNorm`` it runs on every device and back-end, and unlike ``torch.nn.BatchNorm2d`` it takes one value a
    channel (a globally pooled feature of a batch of one): the output is then the bias. Statistics and the running averages are kept in
    fp32 under autocast. ``frozen=True`` normalizes with the running averages and trains nothing.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-3,
        momentum: float = 0.01,
        *,
        affine: bool = True,
        track_running_stats: bool = True,
        frozen: bool = False,
    ) -> None:
        super().__init__(
            num_features,
            eps=eps,
            momentum=momentum,
            affine=affine,
            track_running_stats=track_running_stats,
        )
        self.frozen = frozen
        if frozen and affine:
            self.weight.requires_grad_(False)
            self.bias.requires_grad_(False)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.dim() < 2:
            raise UserError(f'PanopticSyncBN needs (B, C, ...), not {tuple(x.shape)}')

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        batch_stats = self.training and not self.frozen
        if (
            batch_stats
            and dist.is_available()
            and dist.is_initialized()
            and dist.get_world_size() > 1
        ):
            return self._synchronized(x)
        if batch_stats and self.track_running_stats:
            self.num_batches_tracked.add_(1)
        one_value = (
            batch_stats and x.numel() == x.shape[1]
        )  # the unbiased variance of one value is not a number: keep the averages
        track = self.track_running_stats and not one_value
        output = torch.batch_norm(
            x,
            self.weight,
            self.bias,
            self.running_mean if track or not batch_stats else None,
            self.running_var if track or not batch_stats else None,
            batch_stats,
            self.momentum,
            self.eps,
            torch.backends.cudnn.enabled,
        )
        return contiguous_grad(output)

    def _synchronized(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        with torch.autocast(x.device.type, enabled=False):
            value = at_least_fp32(x)
            # Centerd sums: the variance of sums of squares loses all digits where the mean is large.
            local_mean = value.mean(axes)
            count = value.new_full((1,), value.numel() / value.shape[1])
            moments = torch.cat([local_mean * count, count])
            moments = _AllReduce.apply(moments)
            total = moments[-1:].detach()
            mean = moments[:-1] / total
            centerd = value - mean.view(shape)
            var = _AllReduce.apply(centerd.square().sum(axes)) / total
            if self.track_running_stats:
                with torch.no_grad():
                    self.num_batches_tracked.add_(1)
                    unbiased = var * total / (total - 1).clamp(min=1)
                    self.running_mean.lerp_(mean, self.momentum)
                    self.running_var.lerp_(unbiased, self.momentum)
            scale = torch.rsqrt(var + self.eps)
            if self.affine:
                return (centerd * (scale * self.weight).view(shape) + self.bias.view(shape)).to(
                    x.dtype
                )
            return (centerd * scale.view(shape)).to(x.dtype)


@ROOT_MODELS.register_module()
class PanopticLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W), each pixel for itself; what kMaX-DeepLab applies to its backbone's features."""

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(x)``; torch's batch norms refuse one value a channel in one process, here it gives the bias as in :class:`PanopticSyncBN`."""
    alone = isinstance(norm, _BatchNorm) and norm.training and x.numel() == x.shape[1]
    if (
        not alone
        or isinstance(norm, PanopticSyncBN)
        or (isinstance(norm, nn.SyncBatchNorm) and get_world_size() > 1)
    ):
        return norm(x)
    return torch.batch_norm(
        x, norm.weight, norm.bias, None, None, True, 0.0, norm.eps, torch.backends.cudnn.enabled
    )


def build_norm(norm_cfg: dict | None, channels: int, *, gamma: float | None = None) -> nn.Module:
    """Norm of ``channels`` from ``norm_cfg``; None gives the identity. ``gamma`` sets the initial scale.

    One ``norm_cfg`` serves layers of 1, 8 and 2048 channels: a group norm takes the largest number of groups that divides both. The key
    ``requires_grad=False`` freezes scale and shift, as in mmcv.
    """
    if norm_cfg is None:
        return nn.Identity()
    cfg = dict(norm_cfg)
    kind = cfg.pop('type')
    requires_grad = cfg.pop('requires_grad', True)
    norm_class = MODELS.get(kind)
    if norm_class is None:
        raise UserError(
            f'norm_cfg type {kind!r} is not in the registry: use PanopticSyncBN, BN, SyncBN or GN'
        )
    if norm_class is nn.GroupNorm:
        cfg['num_groups'] = gcd(cfg.get('num_groups', 32), channels)
        norm = norm_class(num_channels=channels, **cfg)
    else:
        norm = norm_class(channels, **cfg)
    if gamma is not None and getattr(norm, 'weight', None) is not None:
        nn.init.constant_(norm.weight, gamma)
    if not requires_grad:
        norm.requires_grad_(False)
    return norm
