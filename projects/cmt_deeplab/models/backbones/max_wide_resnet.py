"""The convolutional stages of Wide ResNet-41, on which MaX-DeepLab-L stands."""

from collections.abc import Sequence

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.basic_block import BasicBlock
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.blocks.residual_blocks import BlockGroup

from .pretrained import PretrainedMixin


@MODELS.register_module()
class MaXWideResNet(PretrainedMixin, BaseModule):
    """Features (B, 4f, H / stride, W / stride) of the stages ``out_indices`` of images (B, 3, H, W), by default C2 and C3.

    One 3x3 convolution of stride 2 with 64 channels, then stages of basic blocks (two 3x3 of 4f channels, f = 32, 64, 128, ...): stage 1
    at stride 2, each further one at twice the stride. Wide ResNet-41's last two stages are axial in MaX-DeepLab-L and hold memory layers:
    they belong to its pixel decoder. ``drop_path`` grows linearly over the stages, from stride 4 on, to reach its value at stride 32.

    Source: Wide ResNet-38 (Pattern Recognition 2019), deeplab2 code (``axial_resnet.py``, 'wider_resnet').
    """

    def __init__(
        self,
        *,
        num_blocks: Sequence[int] = (3, 3, 6),
        in_channels: int = 3,
        drop_path: float = 0.2,
        out_indices: Sequence[int] = (1, 2),
        pre_activation_outputs: bool = True,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='ReLU'),
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not out_indices or min(out_indices) < 0 or max(out_indices) >= len(num_blocks):
            raise UserError(
                f'out_indices of MaXWideResNet are among 0 to {len(num_blocks) - 1}, not {tuple(out_indices)}'
            )
        self.out_indices, self.pre_activation_outputs = tuple(out_indices), pre_activation_outputs
        self.act = build_activation(act_cfg)
        self.stem = ConvNorm(in_channels, 64, 3, stride=2, norm_cfg=norm_cfg)
        self.stages, self.out_channels = nn.ModuleList(), ()
        channels, stride = 64, 2
        for stage, count in enumerate(num_blocks[: max(out_indices) + 1]):
            blocks = []
            for index in range(count):
                strided = index == 0 and stage > 0
                drop = (
                    drop_path * (stride.bit_length() - 2) / 4 if stride >= 4 else 0.0
                )  # the stride that the block reads
                blocks.append(
                    BasicBlock(
                        channels,
                        32 * 2**stage,
                        stride=2 if strided else 1,
                        drop_path=drop,
                        norm_cfg=norm_cfg,
                        act_cfg=act_cfg,
                    )
                )
                channels, stride = blocks[-1].out_channels, 2 * stride if strided else stride
            self.stages.append(BlockGroup(*blocks))
            if stage in self.out_indices:
                self.out_channels += (channels,)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x, outputs = self.stem(x), []
        for stage, blocks in enumerate(self.stages):
            x = blocks(x)
            if stage in self.out_indices:
                outputs.append(x if self.pre_activation_outputs else self.act(x))
        return tuple(outputs)
