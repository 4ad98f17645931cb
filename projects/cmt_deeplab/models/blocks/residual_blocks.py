"""Residual blocks of the axial backbones and the pixel decoders, in three kinds."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

from torch import Tensor, nn

from cmt_deeplab.errors import UserError

from .axial_attention import AxialAttention2D
from .conv_norm import ConvNorm, build_activation, together
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
        *,
        stride: int = 1,
        drop_path: float = 0.0,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict | None = dict(type='GELU'),
        **options: int,
    ) -> None:
        super().__init__()
        takes = list(signature(self.build_branch).parameters)[4:]
        for name in options:
            if name not in takes:
                raise UserError(
                    f"{type(self).__name__} does not take '{name}': it takes "
                    f'{", ".join(takes) or "no such argument"}; correct or remove it.'
                )
        self.out_channels, self.stride = EXPANSION * filters, stride
        self.act = build_activation(act_cfg)
        self.build_branch(
            in_channels, filters, stride, dict(norm_cfg=norm_cfg, act_cfg=act_cfg), **options
        )
        self.drop_path = DropPath(drop_path)
        self.shortcut = None
        if in_channels != self.out_channels:
            self.shortcut = ConvNorm(
                in_channels, self.out_channels, stride=stride, norm_cfg=norm_cfg
            )

    def build_branch(self, in_channels: int, filters: int, stride: int, common: dict) -> None:
        """Add the modules of the branch; ``common`` has the configs of norms and activations."""
        raise NotImplementedError

    @property
    def branch(self) -> list[nn.Module]:
        """The modules in a row whose output is added to the shortcut."""
        raise NotImplementedError

    def last(self, channels: int, kernel_size: int, common: dict) -> ConvNorm:
        """The last convolution of a branch."""
        norm = dict(norm_cfg=common['norm_cfg'], gamma=0.0)
        return ConvNorm(channels, self.out_channels, kernel_size, **norm)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.stride > 1 else x
        if self.shortcut is not None:
            shortcut, x = together((x, self.shortcut), (x, self.branch))
        else:
            (x,) = together((x, self.branch))
        return shortcut + self.drop_path(x)


class BottleneckBlock(ResidualBlock):
    """1x1 to f, 3x3 with f channels and an optional ``dilation``, 1x1 to 4f."""

    def build_branch(
        self, in_channels: int, filters: int, stride: int, common: dict, dilation: int = 1
    ) -> None:
        self.reduce = ConvNorm(in_channels, filters, **common)
        self.middle = ConvNorm(filters, filters, 3, stride=stride, dilation=dilation, **common)
        self.expand = self.last(filters, 1, common)

    @property
    def branch(self) -> list[nn.Module]:
        return [self.reduce, self.middle, self.expand]


class AxialBlock(ResidualBlock):
    """1x1 to 2f, axial attention with keys of f and values of 2f channels, 1x1 to 4f.

    The expansions are 2, 1 and 2, and in MaX-DeepLab-L 4, 2 and 4.
    """

    def build_branch(
        self,
        in_channels: int,
        filters: int,
        stride: int,
        common: dict,
        bottleneck_expansion: int = 2,
        key_expansion: int = 1,
        value_expansion: int = 2,
    ) -> None:
        hidden, values = bottleneck_expansion * filters, value_expansion * filters
        self.reduce = ConvNorm(in_channels, hidden, **common)
        self.middle = AxialAttention2D(
            hidden,
            key_depth=key_expansion * filters,
            value_depth=values,
            stride=stride,
            norm_cfg=common['norm_cfg'],
        )
        self.expand = self.last(values, 1, common)

    @property
    def branch(self) -> list[nn.Module]:
        return [self.reduce, self.middle, self.act, self.expand]


class BasicBlock(ResidualBlock):
    """Two 3x3 convolutions of 4f channels; Wide ResNet-41 has them at strides below 32."""

    def build_branch(self, in_channels: int, filters: int, stride: int, common: dict) -> None:
        self.conv1 = ConvNorm(in_channels, self.out_channels, 3, stride=stride, **common)
        self.conv2 = self.last(self.out_channels, 3, common)

    @property
    def branch(self) -> list[nn.Module]:
        return [self.conv1, self.conv2]


KINDS = dict(axial=AxialBlock, bottleneck=BottleneckBlock, basic=BasicBlock)


def build_block_group(
    blocks: Sequence[tuple[str, float]],
    in_channels: int,
    filters: int,
    *,
    stride: int = 1,
    **shared: Any,
) -> nn.Sequential:
    """Residual blocks in a row, the first of which has the stride.

    ``blocks`` are their kinds, 'axial', 'bottleneck' or 'basic', with their drop path; further
    arguments are those that all of them share.
    """
    if not blocks:
        raise UserError('num_blocks: a group of residual blocks needs at least one block.')
    group = nn.Sequential()
    for kind, drop_path in blocks:
        if kind not in KINDS:
            raise UserError(
                f'The kind of a residual block is one of {", ".join(KINDS)}, not {kind!r}.'
            )
        group.append(
            KINDS[kind](in_channels, filters, stride=stride, drop_path=drop_path, **shared)
        )
        in_channels, stride = EXPANSION * filters, 1
    return group
