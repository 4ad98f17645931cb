"""Residual blocks of the axial backbones and of the pixel decoder: bottleneck or axial attention in the middle."""

from torch import Tensor, nn

from cmt_deeplab.errors import UserError

from .axial_attention import MAX_SPAN, AxialAttention2D
from .conv_norm import ConvNorm, build_activation
from .drop_path import DropPath
from .norm import DEFAULT_NORM

EXPANSION = 4  # output channels of a block over its filters


class ResidualBlock(nn.Module):
    """``shortcut(act(x)) + drop_path(norm0(1x1(middle(act(norm(1x1(act(x))))))))``: (B, C, H, W) -> (B, out_channels, H', W').

    The input comes without its activation and the sum leaves without one, so that a reader (a skip, a decoder) may take either form.
    Channels are ``hidden_channels`` before the middle, which a subclass gives, and ``out_channels`` after it. The shortcut is a 1x1
    convolution with norm where the channels change, a subsampling where only the stride does. The last norm starts at gamma 0.

    Source: deeplab2 code (``axial_blocks.py``), kMaX-DeepLab code (``kmax_pixel_decoder.py``).
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        middle: nn.Module,
        middle_channels: int,
        out_channels: int,
        *,
        stride: int,
        drop_path: float,
        norm_cfg: dict | None,
        act_cfg: dict,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, out_channels, stride
        self.act = build_activation(act_cfg)
        self.reduce = ConvNorm(in_channels, hidden_channels, norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.middle = middle
        self.expand = ConvNorm(middle_channels, out_channels, norm_cfg=norm_cfg, gamma=0.0)
        self.drop_path = DropPath(drop_path)
        self.shortcut = (
            ConvNorm(in_channels, out_channels, stride=stride, norm_cfg=norm_cfg)
            if in_channels != out_channels
            else None
        )

    def _apply_middle(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        if self.shortcut is not None:
            shortcut = self.shortcut(x)
        else:
            shortcut = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        return shortcut + self.drop_path(self.expand(self._apply_middle(self.reduce(x))))


class BottleneckBlock(ResidualBlock):
    """Residual block with a 3x3 convolution of ``filters`` in the middle: channels [f, f, 4f]."""

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
        middle = ConvNorm(
            filters,
            filters,
            3,
            stride=stride,
            dilation=dilation,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        super().__init__(
            in_channels,
            filters,
            middle,
            filters,
            EXPANSION * filters,
            stride=stride,
            drop_path=drop_path,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )

    def _apply_middle(self, x: Tensor) -> Tensor:
        return self.middle(x)


class AxialBlock(ResidualBlock):
    """Residual block with axial attention of ``filters`` in the middle: channels [2f, attention of f (values 2f), 4f].

    ``bottleneck_expansion`` is the first 2 (MaX-DeepLab-L has 4, key expansion 2 and value expansion 4).
    """

    def __init__(
        self,
        in_channels: int,
        filters: int,
        *,
        stride: int = 1,
        drop_path: float = 0.0,
        num_heads: int = 8,
        bottleneck_expansion: int = 2,
        key_expansion: int = 1,
        value_expansion: int = 2,
        span: int = MAX_SPAN,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='GELU'),
    ) -> None:
        hidden_channels = bottleneck_expansion * filters
        middle = AxialAttention2D(
            hidden_channels,
            filters,
            num_heads=num_heads,
            key_expansion=key_expansion,
            value_expansion=value_expansion,
            stride=stride,
            span=span,
            norm_cfg=norm_cfg,
        )
        super().__init__(
            in_channels,
            hidden_channels,
            middle,
            middle.out_channels,
            EXPANSION * filters,
            stride=stride,
            drop_path=drop_path,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )

    def _apply_middle(self, x: Tensor) -> Tensor:
        return self.act(self.middle(x))


class BlockGroup(nn.Sequential):
    """Blocks of one stage in a row; ``out_channels`` is 4 * filters. Input and output without activation."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__(*blocks)
        self.in_channels, self.out_channels = blocks[0].in_channels, blocks[-1].out_channels


def build_block_group(
    kind: str,
    in_channels: int,
    filters: int,
    num_blocks: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    drop_path: float = 0.0,
    num_heads: int = 8,
    bottleneck_expansion: int = 2,
    key_expansion: int = 1,
    value_expansion: int = 2,
    span: int = MAX_SPAN,
    norm_cfg: dict | None = DEFAULT_NORM,
    act_cfg: dict = dict(type='GELU'),
) -> BlockGroup:
    """``num_blocks`` blocks of ``kind`` 'axial' or 'bottleneck', the first one with the stride; attention arguments serve the axial kind,
    ``dilation`` the bottleneck one."""
    if num_blocks < 1:
        raise UserError(f'a group of blocks needs at least one block, not {num_blocks}')
    if kind == 'axial':
        if dilation != 1:
            raise UserError(
                'an axial block has no convolution to dilate: leave dilation at 1 or use kind "bottleneck"'
            )
        block_class = AxialBlock
        kwargs = dict(
            num_heads=num_heads,
            bottleneck_expansion=bottleneck_expansion,
            key_expansion=key_expansion,
            value_expansion=value_expansion,
            span=span,
        )
    elif kind == 'bottleneck':
        block_class, kwargs = BottleneckBlock, dict(dilation=dilation)
    else:
        raise UserError(f'the kind of a residual block is "axial" or "bottleneck", not {kind!r}')
    blocks = []
    for index in range(num_blocks):
        blocks.append(
            block_class(
                in_channels,
                filters,
                stride=stride if index == 0 else 1,
                drop_path=drop_path,
                norm_cfg=norm_cfg,
                act_cfg=act_cfg,
                **kwargs,
            )
        )
        in_channels = blocks[-1].out_channels
    return BlockGroup(*blocks)
