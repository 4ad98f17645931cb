"""ResNet whose last two stages attend along the axes: the backbone of MaX-DeepLab and of the axial CMT- and kMaX-DeepLab."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.axial_attention import MAX_SPAN
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.blocks.residual_blocks import AxialBlock, BlockGroup, BottleneckBlock

from .pretrained import PretrainedMixin


@MODELS.register_module()
class AxialResNet(PretrainedMixin, BaseModule):
    """Features C2..C5, (B, 4f, H / stride, W / stride), of images (B, 3, H, W); f = 64, 128, 256, 512 times ``width``.

    Inception stem: 3x3 stride 2, 3x3, 3x3 with 64, 64, 128 channels, no max pooling: the first block of every stage has the stride 2,
    until ``output_stride`` (16 or 32) is reached; a stage beyond it keeps the size and its 3x3 convolutions, if any, are dilated after
    the first block. A block attends along the axes where its INPUT has stride ``axial_beyond_stride`` (16) or more in a ResNet of output
    stride 32, 0 for nowhere: all of stage 5, and stage 4 but for its strided first block, which stays a bottleneck. ``drop_path`` holds
    from stride ``drop_path_beyond_stride`` on by the same count, constant or growing linearly over the stages up to ``drop_path``.

    ``num_blocks`` (3, 4, 6, 3) is Axial-R50 (MaX-S), (3, 4, 24, 3) Axial-R104. Features come after their last activation, or before it
    with ``pre_activation_outputs``; ``with_stem_output`` puts the stem's feature of stride 2 first. Any H and W.

    Source: Axial-DeepLab (ECCV 2020), MaX-DeepLab (CVPR 2021), deeplab2 code (``axial_resnet.py``, ``axial_block_groups.py``).
    """

    def __init__(
        self,
        *,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        output_stride: int = 32,
        in_channels: int = 3,
        width: float = 1.0,
        stem_width: float = 1.0,
        axial_beyond_stride: int = 16,
        num_heads: int = 8,
        bottleneck_expansion: int = 2,
        key_expansion: int = 1,
        value_expansion: int = 2,
        span: int = MAX_SPAN,
        drop_path: float = 0.2,
        drop_path_beyond_stride: int = 16,
        drop_path_schedule: str = 'constant',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        with_stem_output: bool = False,
        pre_activation_outputs: bool = False,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='ReLU'),
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(num_blocks) != 4 or min(num_blocks) < 1:
            raise UserError(
                f'num_blocks of AxialResNet are those of stages 2 to 5, at least one each, not {tuple(num_blocks)}'
            )
        if output_stride not in (4, 8, 16, 32):
            raise UserError(f'output_stride of AxialResNet is 4, 8, 16 or 32, not {output_stride}')
        if drop_path_schedule not in ('constant', 'linear'):
            raise UserError(
                f'drop_path_schedule is "constant" or "linear", not {drop_path_schedule!r}'
            )
        if not out_indices or min(out_indices) < 0 or max(out_indices) > 3:
            raise UserError(
                f'out_indices of AxialResNet are among 0 to 3 (C2 to C5), not {tuple(out_indices)}'
            )
        self.out_indices = tuple(out_indices)
        self.with_stem_output, self.pre_activation_outputs = (
            with_stem_output,
            pre_activation_outputs,
        )
        shared = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        attention = dict(
            num_heads=num_heads,
            bottleneck_expansion=bottleneck_expansion,
            key_expansion=key_expansion,
            value_expansion=value_expansion,
            span=span,
        )
        narrow, wide = int(round(64 * stem_width)), int(round(128 * stem_width))
        self.stem = nn.Sequential(
            ConvNorm(in_channels, narrow, 3, stride=2, **shared),
            ConvNorm(narrow, narrow, 3, **shared),
            ConvNorm(narrow, wide, 3, norm_cfg=norm_cfg),
        )
        self.act = build_activation(act_cfg)

        channels, stride = (
            wide,
            2,
        )  # the stride that an output stride of 32 would have here: deeplab2 counts by it
        self.out_channels = (wide,) if with_stem_output else ()
        for stage in range(max(self.out_indices) + 1):
            filters = int(round(64 * 2**stage * width))
            blocks = []
            for index in range(num_blocks[stage]):
                strided = index == 0 and stride < output_stride
                drop = drop_path if stride >= drop_path_beyond_stride else 0.0
                if drop_path_schedule == 'linear':
                    drop *= (
                        stride.bit_length() - 2
                    ) / 4  # stage number: 0 at stride 2, 4 at stride 32
                kwargs = dict(stride=2 if strided else 1, drop_path=drop, **shared)
                if stride >= axial_beyond_stride > 0:
                    blocks.append(AxialBlock(channels, filters, **attention, **kwargs))
                else:
                    blocks.append(
                        BottleneckBlock(
                            channels, filters, dilation=max(stride // output_stride, 1), **kwargs
                        )
                    )
                channels = blocks[-1].out_channels
                if index == 0:
                    stride *= 2
            self.add_module(f'stage{stage + 2}', BlockGroup(*blocks))
            if stage in self.out_indices:
                self.out_channels += (channels,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        outputs = [x] if self.with_stem_output else []
        for stage in range(max(self.out_indices) + 1):
            x = getattr(self, f'stage{stage + 2}')(x)
            if stage in self.out_indices:
                outputs.append(x)
        return (
            tuple(outputs)
            if self.pre_activation_outputs
            else tuple(self.act(output) for output in outputs)
        )
