"""Convolution, norm, activation: the block that every part is made of."""

from functools import partial

from torch import Tensor, nn

from .module_config import registered_class, tried_out
from .norm import build_norm, contiguous_grad, normalize

ACTIVATIONS = "one of mmcv's activations, such as ReLU, GELU and SiLU, or a class of torch.nn"


def build_activation(act_cfg: dict | None) -> nn.Module:
    """The activation of ``act_cfg``, whose type is a registered name or a class.

    None gives the identity. It never works in place: residual inputs are activated too, and their
    sum needs them intact.

    Raises:
        UserError: the type is not known, or it does not keep the shape of maps.
    """
    if act_cfg is None:
        return nn.Identity()
    activation_class = registered_class('act_cfg', act_cfg, ACTIVATIONS)
    arguments = {key: value for key, value in act_cfg.items() if key != 'type'}
    build = partial(activation_class, **arguments)
    activation = tried_out('act_cfg', act_cfg, build, 2, ACTIVATIONS)
    if hasattr(activation, 'inplace'):
        activation.inplace = False
    return activation


class ConvNorm(nn.Module):
    """``act(norm(conv(x)))`` of a map (B, C, H, W), or of vectors (B, C, N) as (B, C, N, 1).

    Padding keeps the size at stride 1.

    Args:
        weight_std: standard deviation of the truncated normal from which the kernel is drawn. By
            default that of He for ordinary kernels, and for depthwise ones Xavier's uniform
            distribution, as in deeplab2 (``layers/convolutions.py``).
        gamma: initial scale of the norm.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        *,
        norm_cfg: dict | None,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        act_cfg: dict | None = None,
        gamma: float | None = None,
        weight_std: float | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = build_norm(norm_cfg, out_channels, gamma=gamma)
        self.act = build_activation(act_cfg)
        if weight_std is None and groups > 1:
            nn.init.xavier_uniform_(self.conv.weight)
        else:
            std = weight_std or (2.0 / (in_channels * kernel_size**2)) ** 0.5
            nn.init.trunc_normal_(self.conv.weight, std=std, a=-2 * std, b=2 * std)
        if bias:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            return self.forward(x.unsqueeze(-1)).squeeze(-1)
        return contiguous_grad(self.act(normalize(self.norm, contiguous_grad(self.conv(x)))))
