"""Residual blocks of the axial backbones and the pixel decoders, in three kinds."""

from typing import Any

from torch import Tensor, nn

from cmt_deeplab.errors import UserError

from .axial_attention import AxialAttention2D
from .conv_norm import ConvNorm, build_activation
from .drop_path import DropPath
from .norm import DEFAULT_NORM

EXPANSION = 4  # output channels of a block over its filters


class ResidualBlock(nn.Module):
    """``shortcut(act(x)) + drop_path(branch(act(x)))``: (B, C, H, W) -> (B, 4f, H', W').

    The input comes without its activation and the sum leaves without one, so that a reader may
    take either form. The shortcut is a 1x1 convolution with norm where the channels change, and
    a subsampling where only the stride does. The last norm of a branch starts at the scale 0.

    Source: deeplab2 (``layers/axial_blocks.py``), kmax-deeplab (``kmax_pixel_decoder.py``).
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        branch: dict[str, nn.Module],
        *,
        stride: int,
        drop_path: float,
        norm_cfg: dict | None,
        act_cfg: dict,
    ) -> None:
        super().__init__()
        self.out_channels, self.stride = EXPANSION * filters, stride
        self.act = build_activation(act_cfg)
        for name, module in branch.items():
            self.add_module(name, module)
        self.drop_path = DropPath(drop_path)
        self.shortcut = None
        if in_channels != self.out_channels:
            self.shortcut = ConvNorm(
                in_channels, self.out_channels, stride=stride, norm_cfg=norm_cfg
            )

    def branch(self, x: Tensor) -> Tensor:
        """What is added to the shortcut."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        if self.shortcut is not None:
            shortcut = self.shortcut(x)
        else:
            shortcut = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        return shortcut + self.drop_path(self.branch(x))


class BottleneckBlock(ResidualBlock):
    """1x1 to f, 3x3 with f channels, 1x1 to 4f."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        drop_path: float = 0.0,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='GELU'),
    ) -> None:
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        branch = dict(
            reduce=ConvNorm(in_channels, filters, **common),
            middle=ConvNorm(filters, filters, 3, stride=stride, dilation=dilation, **common),
            expand=ConvNorm(filters, EXPANSION * filters, norm_cfg=norm_cfg, gamma=0.0),
        )
        super().__init__(in_channels, filters, branch, stride=stride, drop_path=drop_path, **common)

    def branch(self, x: Tensor) -> Tensor:
        return self.expand(self.middle(self.reduce(x)))


class AxialBlock(ResidualBlock):
    """1x1 to 2f, axial attention with keys of f and values of 2f channels, 1x1 to 4f.

    The expansions are 2, 1 and 2, and in MaX-DeepLab-L 4, 2 and 4.
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        stride: int = 1,
        drop_path: float = 0.0,
        bottleneck_expansion: int = 2,
        key_expansion: int = 1,
        value_expansion: int = 2,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='GELU'),
    ) -> None:
        hidden, values = bottleneck_expansion * filters, value_expansion * filters
        attention = dict(key_depth=key_expansion * filters, value_depth=values, stride=stride)
        common = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        branch = dict(
            reduce=ConvNorm(in_channels, hidden, **common),
            middle=AxialAttention2D(hidden, norm_cfg=norm_cfg, **attention),
            expand=ConvNorm(values, EXPANSION * filters, norm_cfg=norm_cfg, gamma=0.0),
        )
        super().__init__(in_channels, filters, branch, stride=stride, drop_path=drop_path, **common)

    def branch(self, x: Tensor) -> Tensor:
        return self.expand(self.act(self.middle(self.reduce(x))))


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions of 4f channels; Wide ResNet-41 has them at strides below 32."""

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        stride: int = 1,
        drop_path: float = 0.0,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='ReLU'),
    ) -> None:
        width, common = EXPANSION * filters, dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        branch = dict(
            conv1=ConvNorm(in_channels, width, 3, stride=stride, **common),
            conv2=ConvNorm(width, width, 3, norm_cfg=norm_cfg, gamma=0.0),
        )
        super().__init__(in_channels, filters, branch, stride=stride, drop_path=drop_path, **common)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


KINDS = dict(axial=AxialBlock, bottleneck=BottleneckBlock, basic=BasicBlock)


def build_block_group(
    kind: str, in_channels: int, filters: int, num_blocks: int, *, stride: int = 1, **block: Any
) -> nn.Sequential:
    """``num_blocks`` blocks of ``kind`` 'axial', 'bottleneck' or 'basic' in a row.

    The first block has the stride; further arguments are those of the kind's blocks.
    """
    if kind not in KINDS:
        raise UserError(f'The kind of a residual block is one of {", ".join(KINDS)}, not {kind!r}.')
    if num_blocks < 1:
        raise UserError(f'A group of blocks needs at least one block, not {num_blocks}.')
    blocks = []
    for index in range(num_blocks):
        block_stride = stride if index == 0 else 1
        blocks.append(KINDS[kind](in_channels, filters, stride=block_stride, **block))
        in_channels = blocks[-1].out_channels
    return nn.Sequential(*blocks)
