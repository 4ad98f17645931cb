"""mmdet's ResNet in the forms that kMaX-DeepLab and CMT-DeepLab need."""

from collections.abc import Sequence
from typing import Any, Literal

import torch.nn.functional as F
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import BasicBlock, Bottleneck
from mmdet.registry import MODELS
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.norm import DEFAULT_NORM
from cmt_deeplab.models.blocks.recompute import recompute_always, recomputed

from .pretrained import PretrainedMixin
from .stages import NOTHING_FROZEN, check_frozen_stages

TIMM_DEEP_STEM = ((r'^conv1\.(\d)\.', r'stem.\1.'), (r'^bn1\.', 'stem.7.'))  # of resnet50d


@MODELS.register_module()
class PanopticResNet(PretrainedMixin, ResNet):
    """mmdet's ResNet, with the same parameters under the same names.

    By default it gives mmdet's features C2 to C5 of images (B, 3, H, W).

    Args:
        with_max_pool: False is the network of deeplab2: there is no max pooling, and the first
            block of stage 2 has the stride 2 instead.
        with_stem_output: True puts the stem's feature, of stride 2, in front of the others, as
            deeplab2 uses it on Cityscapes. 'pooled' puts the feature behind the max pooling, of
            stride 4, after C2: kmax-deeplab sorts its features by stride, and so its pixel
            decoder on Cityscapes reads C5, C4, C3, the stem and C2.
        pre_activation_outputs: whether the features, and that of the stem, are given before
            their last ReLU, as in deeplab2 ('stage1' to 'stage5' there). Without effect on what
            the next stage reads.
        kwargs: further arguments of mmdet's ResNet.

    Source: deeplab2 (``encoder/axial_resnet.py``), kmax-deeplab (``backbone/resnet.py``).
    """

    def __init__(
        self,
        *,
        depth: int,
        with_max_pool: bool = True,
        with_stem_output: bool | Literal['pooled'] = False,
        pre_activation_outputs: bool = False,
        strides: Sequence[int] = (1, 2, 2, 2),
        norm_cfg: dict = DEFAULT_NORM,
        norm_eval: bool = False,
        **kwargs: Any,
    ) -> None:
        if depth not in self.arch_settings:
            depths = ', '.join(map(str, self.arch_settings))
            raise UserError(f'depth of PanopticResNet is one of {depths}, not {depth}.')
        check_frozen_stages(
            kwargs.get('frozen_stages', NOTHING_FROZEN),
            kwargs.get('num_stages', 4),
            'PanopticResNet',
        )
        if pre_activation_outputs and kwargs.get('plugins') is not None:
            raise UserError(
                'PanopticResNet has no plugins with pre_activation_outputs=True: use only one.'
            )
        if with_stem_output == 'pooled' and (not with_max_pool or pre_activation_outputs):
            raise UserError(
                "with_stem_output='pooled' of PanopticResNet is the form of kmax-deeplab: set "
                'with_max_pool=True and pre_activation_outputs=False.'
            )
        if not with_max_pool:
            strides = (2 * strides[0], *strides[1:])
        super().__init__(
            depth=depth, strides=strides, norm_cfg=norm_cfg, norm_eval=norm_eval, **kwargs
        )
        self.with_max_pool = with_max_pool
        self.with_stem_output = with_stem_output
        self.pre_activation_outputs = pre_activation_outputs
        for block in self.modules():
            if isinstance(block, BasicBlock | Bottleneck):
                block.with_cp = False  # in mmdet's way, batch statistics would count twice
                if self.with_cp:
                    recompute_always(block)

    @property
    def renamings(self) -> Sequence[tuple[str, str]]:
        """Files of torchvision, timm and mmpretrain have mmdet's names, but for a deep stem."""
        return TIMM_DEEP_STEM if self.deep_stem else ()

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Widths of the features that ``forward`` returns."""
        stages = [
            self.base_channels * 2**index * self.block.expansion for index in self.out_indices
        ]
        return self._with_stem(stages, self.stem_channels)

    def train(self, mode: bool = True) -> 'PanopticResNet':
        super().train(mode)
        return self  # mmdet's returns None

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        stem = self.stem[:-1](x) if self.deep_stem else self.norm1(self.conv1(x))
        x = F.relu(stem)
        if not self.pre_activation_outputs:
            stem = x
        if self.with_max_pool:
            x = self.maxpool(x)
        if self.with_stem_output == 'pooled':
            stem = x
        outputs = []
        for index, name in enumerate(self.res_layers):
            blocks = getattr(self, name)
            if self.pre_activation_outputs:
                x, output = self._with_sum(blocks, x)
            else:
                x = output = blocks(x)
            if index in self.out_indices:
                outputs.append(output)
        return self._with_stem(outputs, stem)

    def _with_stem(self, stages: list, stem: Any) -> tuple:
        """The entries of the stages and, at its place, that of the stem."""
        if self.with_stem_output:
            stages.insert(int(self.with_stem_output == 'pooled'), stem)
        return tuple(stages)

    def _with_sum(self, blocks: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output of a stage after and before its last ReLU."""
        *inner, last = blocks
        for block in inner:
            x = block(x)
        if self.with_cp:
            before = recomputed(last, x, forward=_residual_sum)
        else:
            before = _residual_sum(last, x)
        return F.relu(before), before


def _residual_sum(block: nn.Module, x: Tensor) -> Tensor:
    """What mmdet's BasicBlock or Bottleneck computes before its last ReLU."""
    shortcut = x if block.downsample is None else block.downsample(x)
    x = F.relu(block.norm1(block.conv1(x)))
    x = block.norm2(block.conv2(x))
    if isinstance(block, Bottleneck):
        x = block.norm3(block.conv3(F.relu(x)))
    return x + shortcut
