"""ResNet whose last two stages attend along the axes, of MaX-, CMT- and kMaX-DeepLab."""

from collections.abc import Sequence
from itertools import chain

from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.conv_norm import ConvNorm, build_activation
from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.blocks.residual_blocks import build_block_group

from .pretrained import PretrainedMixin
from .stages import NOTHING_FROZEN, StagesMixin


@MODELS.register_module()
class AxialResNet(StagesMixin, PretrainedMixin, BaseModule):
    """Features C2 to C5, (B, 4f, H / stride, W / stride), of images (B, 3, H, W) of any size.

    The filters f are 64, 128, 256 and 512 times ``width``. The Inception stem has three 3x3
    convolutions with 64, 64 and 128 channels, the first of stride 2, and no max pooling: the
    first block of each stage has the stride 2, until ``output_stride`` is reached.

    Blocks that read features of stage 4 or 5 attend along the axes. These are all blocks of stage
    5, and of stage 4 all but the first, which is strided, reads stage 3 and remains a bottleneck.
    Drop path too begins there.

    Args:
        num_blocks: of stages 2 to 5; (3, 4, 6, 3) is Axial-R50 (MaX-S), (3, 4, 24, 3) Axial-R104.
        output_stride: 16 or 32.
        drop_path: probability with which a residual branch is dropped for one image. With the
            'linear' ``drop_path_schedule`` it grows over the stages to this value in stage 5.
        out_indices: which of C2 to C5 (0 to 3) are given; stages beyond the last are left out.
        with_stem_output: whether the stem's feature, of stride 2, comes in front of them.
        pre_activation_outputs: whether features come before their last activation.
        frozen_stages, norm_eval, with_cp: see :class:`StagesMixin`.

    Source: Axial-DeepLab (ECCV 2020), MaX-DeepLab (CVPR 2021), deeplab2
    (``encoder/axial_resnet.py``, ``layers/axial_block_groups.py``).
    """

    def __init__(
        self,
        *,
        num_blocks: Sequence[int] = (3, 4, 6, 3),
        output_stride: int = 32,
        width: float = 1.0,
        drop_path: float = 0.2,
        drop_path_schedule: str = 'constant',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        with_stem_output: bool = False,
        pre_activation_outputs: bool = False,
        norm_cfg: dict | None = DEFAULT_NORM,
        act_cfg: dict = dict(type='ReLU'),
        frozen_stages: int = NOTHING_FROZEN,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if len(num_blocks) != 4 or min(num_blocks) < 1:
            raise UserError(
                'num_blocks of AxialResNet are those of stages 2 to 5, at least one each, not '
                f'{tuple(num_blocks)}.'
            )
        if output_stride not in (16, 32):
            raise UserError(f'output_stride of AxialResNet is 16 or 32, not {output_stride}.')
        if drop_path_schedule not in ('constant', 'linear'):
            raise UserError(
                f'drop_path_schedule is "constant" or "linear", not {drop_path_schedule!r}.'
            )
        if not out_indices or min(out_indices) < 0 or max(out_indices) > 3:
            raise UserError(
                f'out_indices of AxialResNet are among 0 to 3 (C2 to C5), not {tuple(out_indices)}.'
            )
        self.out_indices = tuple(out_indices)
        self.with_stem_output = with_stem_output
        self.pre_activation_outputs = pre_activation_outputs
        shared = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        narrow, channels = round(64 * width), round(128 * width)
        self.stem = nn.Sequential(
            ConvNorm(3, narrow, 3, stride=2, **shared),
            ConvNorm(narrow, narrow, 3, **shared),
            ConvNorm(narrow, channels, 3, norm_cfg=norm_cfg),
        )
        self.act = build_activation(act_cfg)

        def block_reading(stage: int) -> tuple[str, float]:
            """Kind and drop path of a block that reads features of this stage."""
            if stage < 4:
                return 'bottleneck', 0.0
            return 'axial', drop_path * ((stage - 1) / 4 if drop_path_schedule == 'linear' else 1)

        self.out_channels = (channels,) if with_stem_output else ()
        for index, count in enumerate(num_blocks[: max(self.out_indices) + 1]):
            group = build_block_group(
                [block_reading(index + 1)] + [block_reading(index + 2)] * (count - 1),
                channels,
                round(64 * 2**index * width),
                stride=2 if 2 ** (index + 1) < output_stride else 1,
                **shared,
            )
            self.add_module(f'stage{index + 2}', group)
            channels = group[-1].out_channels
            if index in self.out_indices:
                self.out_channels += (channels,)
        self.set_stages(
            [[part] for part in (self.stem, *self.stages)],
            chain(*self.stages),
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
        )

    @property
    def stages(self) -> list[nn.Sequential]:
        """The stages 2 to 5, as far as they are there."""
        return [getattr(self, f'stage{index + 2}') for index in range(max(self.out_indices) + 1)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        outputs = [x] if self.with_stem_output else []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in self.out_indices:
                outputs.append(x)
        if self.pre_activation_outputs:
            return tuple(outputs)
        return tuple(self.act(output) for output in outputs)
