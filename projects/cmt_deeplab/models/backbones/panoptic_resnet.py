"""mmdet's ResNet in the forms that the panoptic transformers need: no max pooling, stem output, outputs before the last activation."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmdet.models.backbones import ResNet
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmt_deeplab.errors import UserError
from cmt_deeplab.models.blocks.norm import DEFAULT_NORM

from .pretrained import PretrainedMixin

TIMM_DEEP_STEM = ((r'^conv1\.(\d)\.', r'stem.\1.'), (r'^bn1\.', 'stem.7.'))  # of resnet50d


def _residual_sum(block: nn.Module, x: Tensor) -> Tensor:
    """What mmdet's BasicBlock or Bottleneck computes before its last ReLU."""
    shortcut = x if block.downsample is None else block.downsample(x)
    x = F.relu(block.norm1(block.conv1(x)))
    x = block.norm2(block.conv2(x))
    if isinstance(block, Bottleneck):
        x = block.norm3(block.conv3(F.relu(x)))
    return x + shortcut


@MODELS.register_module()
class PanopticResNet(PretrainedMixin, ResNet):
    """mmdet's ResNet, the same parameters under the same names; with the default flags the same features C2..C5 of (B, 3, H, W).

    ``with_max_pool=False`` is the form of the TensorFlow code: the first block of stage 2 has the stride 2 in place of the pooling.
    ``with_stem_output`` puts the stem's feature of stride 2 (before the pooling) in front of the tuple. ``pre_activation_outputs`` gives
    stage outputs, and the stem's, before their last ReLU; the path through the network stays the same. Further arguments are mmdet's.

    Source: deeplab2 code (``axial_resnet.py``: 'stageN' endpoints before, 'resN' after the activation).
    """

    def __init__(
        self,
        *,
        depth: int,
        with_max_pool: bool = True,
        with_stem_output: bool = False,
        pre_activation_outputs: bool = False,
        strides: Sequence[int] = (1, 2, 2, 2),
        norm_cfg: dict = DEFAULT_NORM,
        norm_eval: bool = False,
        plugins: list | None = None,
        **kwargs: Any,
    ) -> None:
        if pre_activation_outputs and plugins is not None:
            raise UserError(
                'PanopticResNet has no plugins with pre_activation_outputs=True: drop one of the two'
            )
        if depth not in self.arch_settings:
            raise UserError(
                f'depth of PanopticResNet is one of {", ".join(map(str, self.arch_settings))}, not {depth}'
            )
        if not with_max_pool:
            strides = (2 * strides[0], *strides[1:])
        super().__init__(
            depth=depth,
            strides=strides,
            norm_cfg=norm_cfg,
            norm_eval=norm_eval,
            plugins=plugins,
            **kwargs,
        )
        self.with_max_pool = with_max_pool
        self.with_stem_output = with_stem_output
        self.pre_activation_outputs = pre_activation_outputs

    @property
    def renamings(self) -> Sequence[tuple[str, str]]:
        """Files of torchvision, timm and mmpretrain have mmdet's names, but for timm's deep stem."""
        return TIMM_DEEP_STEM if self.deep_stem else ()

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of the features that ``forward`` returns."""
        stages = tuple(
            self.base_channels * 2**index * self.block.expansion for index in self.out_indices
        )
        return (self.stem_channels, *stages) if self.with_stem_output else stages

    def train(self, mode: bool = True) -> 'PanopticResNet':
        super().train(mode)
        return self  # mmdet's returns None

    def _stem_before_activation(self, x: Tensor) -> Tensor:
        return self.stem[:-1](x) if self.deep_stem else self.norm1(self.conv1(x))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        stem = self._stem_before_activation(x)
        x = F.relu(stem)
        outputs = []
        if self.with_stem_output:
            outputs.append(stem if self.pre_activation_outputs else x)
        if self.with_max_pool:
            x = self.maxpool(x)
        for index, name in enumerate(self.res_layers):
            blocks = getattr(self, name)
            if not self.pre_activation_outputs:
                x = output = blocks(x)
            else:
                *inner_blocks, last_block = blocks
                for block in inner_blocks:
                    x = block(x)
                if self.with_cp and x.requires_grad:
                    output = checkpoint(_residual_sum, last_block, x, use_reentrant=False)
                else:
                    output = _residual_sum(last_block, x)
                x = F.relu(output)
            if index in self.out_indices:
                outputs.append(output)
        return tuple(outputs)
