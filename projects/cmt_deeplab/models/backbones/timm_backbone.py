"""Any backbone of timm, ConvNeXt above all: mmdet has none of its own."""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import MissingPackageError, UserError

from .pretrained import PretrainedMixin


def _pad_to_ceil(kernel_size: int):
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before

    def hook(module: nn.Module, args: tuple) -> tuple:
        return (F.pad(args[0], (before, after, before, after)),)

    return hook


@MODELS.register_module()
class TimmBackbone(PretrainedMixin, BaseModule):
    """Features (B, C, H / stride, W / stride) of a timm model by its name, e.g. ``convnext_tiny``; further arguments are timm's.

    ``out_indices`` count timm's feature levels (ConvNeXt: 0..3 at strides 4..32; models with a stride-2 level: 0..4); by default all
    levels. ``corner_padding`` makes ConvNeXt's patch convolutions take the zeros that give ceil(n / stride) positions, 161 of 641 at
    stride 4, before and after as in kMaX-DeepLab's and deeplab2's ConvNeXt; without it 641 gives 160.

    Weights: nothing is downloaded when the network is built. ``init_cfg=dict(type='Pretrained', checkpoint=...)`` reads a file or URL of
    timm, of the ConvNeXt authors or of mmpretrain when a runner initializes the weights.

    Raises:
        ImportError: timm is not installed (optional extra ``timm``).
        ValueError: timm knows no such model, or the checkpoint is another's.
        FileNotFoundError: the checkpoint cannot be read.
    """

    renamings = (
        ('depthwise_conv|dwconv', 'conv_dw'),
        ('pointwise_conv|pwconv', 'mlp.fc'),
    )  # of mmpretrain, of the authors

    def __init__(
        self,
        *,
        model_name: str,
        out_indices: Sequence[int] | None = None,
        in_channels: int = 3,
        corner_padding: bool = True,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ImportError as error:
            raise MissingPackageError(
                'TimmBackbone needs the optional package timm: pip install "cmt-deeplab[timm]", or timm alone.'
            ) from error
        if init_cfg is not None and init_cfg.get('type') != 'Pretrained':
            raise UserError(
                f"init_cfg of TimmBackbone is dict(type='Pretrained', checkpoint=...), not of type {init_cfg.get('type')!r}: "
                'timm initializes its own models'
            )
        if not timm.is_model(model_name):
            raise UserError(
                f'timm {timm.__version__} knows no model {model_name!r}: see timm.list_models()'
            )
        if out_indices is not None:
            kwargs['out_indices'] = tuple(out_indices)
        self.model_name = model_name
        self.model = timm.create_model(
            model_name, pretrained=False, features_only=True, in_chans=in_channels, **kwargs
        )
        self.out_channels = tuple(self.model.feature_info.channels())
        self.strides = tuple(self.model.feature_info.reduction())
        if corner_padding and model_name.startswith('convnext'):
            self.model['stem_0'].register_forward_pre_hook(
                _pad_to_ceil(self.model['stem_0'].kernel_size[0])
            )
            for name, stage in self.model.items():
                if name.startswith('stages_') and isinstance(stage.downsample, nn.Sequential):
                    # before the norm, whose output at a padded position is its bias, as in the sources
                    stage.downsample.register_forward_pre_hook(
                        _pad_to_ceil(stage.downsample[-1].kernel_size[0])
                    )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(x))

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = {_author_names(name): value for name, value in super().rename(weights).items()}
        # timm's feature networks flatten their first two levels: 'stages.0.blocks' is 'stages_0.blocks' there
        own = {
            name.replace('.', '_'): (name, value) for name, value in self.model.state_dict().items()
        }
        renamed = {}
        for name, value in weights.items():
            name, known = own.get(name.replace('.', '_'), (name, value))
            # a linear map in one code base is a 1x1 convolution in another
            renamed[f'model.{name}'] = (
                value.reshape(known.shape)
                if value.squeeze().shape == known.squeeze().shape
                else value
            )
        return renamed


def _author_names(key: str) -> str:
    """The place of a ConvNeXt weight in timm's network for its place in the authors'; other names pass."""
    parts = key.split('.')
    if parts[0] == 'downsample_layers':
        parts = (
            ['stem', *parts[2:]]
            if parts[1] == '0'
            else ['stages', parts[1], 'downsample', *parts[2:]]
        )
    elif parts[0] == 'stages' and len(parts) > 3 and parts[2].isdigit():
        parts.insert(2, 'blocks')
    return '.'.join(parts)
