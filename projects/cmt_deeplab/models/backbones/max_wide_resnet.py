"""The convolutional stages of Wide ResNet-41, on which MaX-DeepLab-L stands."""

from collections.abc import Sequence
from itertools import chain

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import ConvNorm
from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.blocks.residual_blocks import build_block_group

from .pretrained import PretrainedMixin
from .stages import NOTHING_FROZEN, StagesMixin


@MODELS.register_module()
class MaXWideResNet(StagesMixin, PretrainedMixin, BaseModule):
    """Features C2 and C3, (B, 256, H/4, W/4) and (B, 512, H/8, W/8), of images (B, 3, H, W).

    They come before their last activation. After one 3x3 convolution of stride 2 with 64
    channels follow three stages of basic blocks, two 3x3 convolutions of 4f channels each, with
    f = 32, 64, 128 at strides 2, 4 and 8. The last two stages of Wide ResNet-41 are axial in
    MaX-DeepLab-L and have layers between their blocks: they belong to its pixel decoder.

    Args:
        num_blocks: of each stage.
        drop_path: the probability at stride 32. It grows linearly with the stage that a block
            reads: a quarter of it at stride 4, half of it at stride 8.
        frozen_stages, norm_eval, with_cp: see :class:`StagesMixin`.

    Source: Wide ResNet-38 (Pattern Recognition 2019), deeplab2 (``encoder/axial_resnet.py``,
    'wider_resnet').
    """

    def __init__(
        self,
        *,
        num_blocks: Sequence[int] = (3, 3, 6),
        drop_path: float = 0.2,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='ReLU'),
        frozen_stages: int = NOTHING_FROZEN,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(num_blocks) != 3 or min(num_blocks) < 1:
            raise UserError(
                'num_blocks of MaXWideResNet are those of three stages, at least one each, not '
                f'{tuple(num_blocks)}.'
            )
        self.stem = ConvNorm(3, 64, 3, stride=2, norm_cfg=norm_cfg)
        self.stages = nn.ModuleList()
        shared = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        for stage, count in enumerate(num_blocks):
            inner = ('basic', drop_path * stage / 4)  # 0 at stride 2
            first = ('basic', drop_path * max(stage - 1, 0) / 4)  # reads the stage before
            group = build_block_group(
                ([first] + [inner] * count)[:count],
                64 * 2**stage,
                32 * 2**stage,
                stride=min(stage + 1, 2),
                **shared,
            )
            self.stages.append(group)
        self.out_channels = (256, 512)
        self.set_stages(
            [[part] for part in (self.stem, *self.stages)],
            chain(*self.stages),
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second, third = self.stages
        c2 = second(first(self.stem(x)))
        return c2, third(c2)
