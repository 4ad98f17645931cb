"""Convolution, norm, activation: the one block that every part is made of."""

from mmcv.cnn import build_activation_layer
from torch import Tensor, nn

from .contiguous_grad import contiguous_grad
from .norm import build_norm, normalize


def build_activation(act_cfg: dict | None) -> nn.Module:
    """Activation from ``act_cfg``; None gives the identity. Never in place: the sources activate residual inputs too."""
    if act_cfg is None:
        return nn.Identity()
    cfg = dict(act_cfg)
    if cfg['type'] in ('ReLU', 'LeakyReLU', 'ReLU6', 'ELU', 'SiLU'):
        cfg['inplace'] = False
    return build_activation_layer(cfg)


class ConvNorm(nn.Module):
    """``act(norm(conv(x)))`` of a feature map (B, C, H, W) or of vectors (B, C, N), which a 1x1 convolution takes as (B, C, N, 1).

    Padding keeps the size at stride 1. ``weight_std`` draws the kernel from a truncated normal; without it the spread is He's for
    ordinary kernels and Xavier's for depthwise ones (deeplab2's initializers). ``gamma`` is the norm's initial scale.
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
            std = (
                weight_std
                if weight_std is not None
                else (2.0 / (in_channels * kernel_size**2)) ** 0.5
            )
            nn.init.trunc_normal_(self.conv.weight, std=std, a=-2 * std, b=2 * std)
        if bias:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() == 3:
            return self.forward(x.unsqueeze(-1)).squeeze(-1)
        return contiguous_grad(self.act(normalize(self.norm, contiguous_grad(self.conv(x)))))
