"""The norms of the package, and the guard against a fault of torch's batch norm on the CPU."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from math import gcd

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.registry import MODELS as ROOT_MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmt_deeplab.errors import UserError
from cmt_deeplab.precision import at_least_fp32

from .fused_batch_norm import FusedBatchNorm, parts_of
from .module_config import registered_class, tried_out

NORMS = 'PanopticSyncBN, BN, SyncBN, GN, IN, or PanopticLayerNorm for the layer norm of each pixel'
DEFAULT_NORM = dict(type='PanopticSyncBN', eps=1e-3, momentum=0.01)  # as deeplab2, kmax-deeplab


def contiguous_grad(x: Tensor) -> Tensor:
    """``x``; its gradient will arrive in the memory layout that ``x`` has.

    For a batch of one, a gradient that has passed a transposition looks like channels-last to
    torch's CPU batch norm while its input does not, and the gradients behind it are wrong (torch
    2.13 and 2.15; ``tests/models/test_norm.py`` compares them with the formula). Compiled code
    lays its tensors out itself.
    """
    alone = x.shape[0] == 1 and x.device.type == 'cpu'
    if alone and x.requires_grad and not torch.compiler.is_compiling():
        layout = torch.contiguous_format
        if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        x.register_hook(partial(Tensor.contiguous, memory_format=layout))
    return x


# In mmengine's root registry, where mmcv keeps its norms: a backbone of any code base finds it.
@ROOT_MODELS.register_module()
class PanopticSyncBN(_BatchNorm):
    """Batch norm over all axes but 1 of (B, C, ...), and over all processes.

    Unlike ``torch.nn.SyncBatchNorm`` it runs on every device and back-end, gloo on a CPU included,
    and on a GPU it uses the same kernels, without waiting for them; see :func:`over_processes`.
    Unlike ``torch.nn.BatchNorm2d`` it accepts one value per channel (a globally pooled feature of
    a batch of one); the output is then the bias. Statistics are in fp32 under autocast.
    ``frozen=True`` normalizes with the running averages and trains nothing. The momentum is
    constant, so batches are not counted: ``num_batches_tracked`` stays as it is loaded.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-3, momentum: float = 0.01, *, frozen: bool = False
    ) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        self.frozen = frozen
        self.requires_grad_(not frozen)

    @property
    def synchronized(self) -> bool:
        """Whether the statistics are those of several processes."""
        return self.training and not self.frozen and get_world_size() > 1

    def forward(self, x: Tensor) -> Tensor:
        batch_stats = self.training and not self.frozen
        if batch_stats and (self.synchronized or parts_of(x) > 1):
            return over_processes([self], [x])[0]
        # The unbiased variance of one value is not a number: the running averages are kept.
        if batch_stats and x.numel() == x.shape[1]:
            return contiguous_grad(_of_one_value(self, x))
        averages, affine = (self.running_mean, self.running_var), (self.weight, self.bias)
        return contiguous_grad(
            F.batch_norm(x, *averages, *affine, batch_stats, self.momentum, self.eps)
        )


def over_processes(norms: Sequence[PanopticSyncBN], maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Each map (B, C, ...) under its norm, with one exchange among the processes for all."""
    affine = [norm.weight for norm in norms] + [norm.bias for norm in norms]
    return FusedBatchNorm.apply(norms, *maps, *affine)


@ROOT_MODELS.register_module()
class PanopticLayerNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W), each pixel by itself.

    It gives the precision of ``x``, under autocast too, which would choose fp32. A GPU's kernels
    compute in fp32 inside; those of a CPU sum up the gradients of scale and shift in half
    precision, so they are given fp32.
    """

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.permute(0, 2, 3, 1)
        if x.device.type == 'cpu':
            pixels = at_least_fp32(pixels)
        affine = [one if one is None else one.to(pixels.dtype) for one in (self.weight, self.bias)]
        with nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False):
            normed = F.layer_norm(pixels, self.normalized_shape, *affine, self.eps)
        return normed.permute(0, 3, 1, 2).to(x.dtype)


def normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """``norm(x)``, also where a norm of torch would refuse one value per statistic.

    The output is then the bias, as in :class:`PanopticSyncBN`. Vectors (B, C, N) are taken too.
    """
    if x.dim() == 3:
        return normalize(norm, x.unsqueeze(-1)).squeeze(-1)
    if isinstance(norm, _BatchNorm) and norm.training and x.numel() == x.shape[1]:
        synchronized = isinstance(norm, nn.SyncBatchNorm) and get_world_size() > 1
        if not synchronized and not isinstance(norm, PanopticSyncBN):
            return _of_one_value(norm, x)
    groups = 0
    if isinstance(norm, nn.GroupNorm) and x.numel() == norm.num_groups:
        groups = norm.num_groups
    if isinstance(norm, nn.InstanceNorm2d) and x.shape[2:].numel() == 1:
        groups = x.shape[1]
    if groups:
        return torch.group_norm(x, groups, norm.weight, norm.bias, norm.eps)
    return norm(x)


def _of_one_value(norm: _BatchNorm, x: Tensor) -> Tensor:
    """The norm of one value per channel, which leaves the running averages alone."""
    parameters = (norm.weight, norm.bias, None, None)
    return torch.batch_norm(x, *parameters, True, 0.0, norm.eps, torch.backends.cudnn.enabled)


def build_norm(norm_cfg: dict | None, channels: int, *, gamma: float | None = None) -> nn.Module:
    """A norm of ``channels`` from ``norm_cfg``, whose initial scale is ``gamma``; None: identity.

    Its type is a registered name or a class. One ``norm_cfg`` serves parts of 1, 8 and 2048
    channels: a group norm takes the largest number of groups that divides both, and the layer
    norm of a single channel, the mask logits for example, covers the whole map. An instance norm
    has scale and shift, unlike torch's, unless ``affine=False`` is given. ``requires_grad=False``
    freezes scale and shift, as in mmcv.

    Raises:
        UserError: the type is not known or does not normalize maps (B, C, H, W).
    """
    if norm_cfg is None:
        return nn.Identity()
    norm_class = registered_class('norm_cfg', norm_cfg, NORMS)
    cfg = {key: value for key, value in norm_cfg.items() if key != 'type'}
    requires_grad = cfg.pop('requires_grad', True)
    if norm_class is nn.GroupNorm:
        groups = cfg.pop('num_groups', 32)
        if not isinstance(groups, int) or groups < 1:
            raise UserError(
                f'norm_cfg.num_groups is {groups!r}: give a number of groups from 1 on.'
            )
        norm_class = partial(nn.GroupNorm, gcd(groups, channels))
    elif norm_class is nn.InstanceNorm2d:
        cfg.setdefault('affine', True)
    elif norm_class in (nn.LayerNorm, nn.InstanceNorm3d):
        raise UserError(
            f'norm_cfg.type is {norm_class.__name__}, which takes another axis than that of maps '
            f'(B, C, H, W) for the channels: use {NORMS}.'
        )
    elif norm_class is PanopticLayerNorm and channels == 1:
        norm_class = partial(nn.GroupNorm, 1)  # each pixel by itself would become a constant
    norm = tried_out('norm_cfg', norm_cfg, partial(norm_class, channels, **cfg), channels, NORMS)
    if gamma is not None and getattr(norm, 'weight', None) is not None:
        nn.init.constant_(norm.weight, gamma)
    if not requires_grad:
        norm.requires_grad_(False)
    return norm
