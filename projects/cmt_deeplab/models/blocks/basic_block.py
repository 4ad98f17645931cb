"""The residual block of wide ResNets: two 3x3 convolutions."""

from torch import Tensor, nn

from .conv_norm import ConvNorm, build_activation
from .drop_path import DropPath
from .norm import DEFAULT_NORM
from .residual_blocks import EXPANSION, BlockGroup


class BasicBlock(nn.Module):
    """``shortcut(act(x)) + drop_path(norm0(3x3(act(norm(3x3(act(x)))))))`` with 4f channels: (B, C, H, W) -> (B, 4f, H', W').

    Input and output come without activation, as those of the other residual blocks. Source: deeplab2 code (``axial_blocks.py``, what
    'wider_resnet' uses at strides below 32).
    """

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
        super().__init__()
        self.in_channels, self.out_channels, self.stride = in_channels, EXPANSION * filters, stride
        self.act = build_activation(act_cfg)
        self.conv1 = ConvNorm(
            in_channels, self.out_channels, 3, stride=stride, norm_cfg=norm_cfg, act_cfg=act_cfg
        )
        self.conv2 = ConvNorm(self.out_channels, self.out_channels, 3, norm_cfg=norm_cfg, gamma=0.0)
        self.drop_path = DropPath(drop_path)
        changes = in_channels != self.out_channels
        self.shortcut = (
            ConvNorm(in_channels, self.out_channels, stride=stride, norm_cfg=norm_cfg)
            if changes
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        shortcut = (
            self.shortcut(x)
            if self.shortcut is not None
            else x[:, :, :: self.stride, :: self.stride]
        )
        return shortcut + self.drop_path(self.conv2(self.conv1(x)))


def basic_block_group(
    in_channels: int,
    filters: int,
    num_blocks: int,
    *,
    stride: int = 1,
    drop_path: float = 0.0,
    norm_cfg: dict | None = DEFAULT_NORM,
    act_cfg: dict = dict(type='ReLU'),
) -> BlockGroup:
    """``num_blocks`` basic blocks in a row, the first one with the stride."""
    blocks = [
        BasicBlock(
            in_channels if index == 0 else EXPANSION * filters,
            filters,
            stride=stride if index == 0 else 1,
            drop_path=drop_path,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        for index in range(num_blocks)
    ]
    return BlockGroup(*blocks)
