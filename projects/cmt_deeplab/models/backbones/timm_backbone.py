"""Any backbone of timm; above all ConvNeXt, which mmdet does not have."""

from typing import Any

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import MissingPackageError, UserError

from .pretrained import PretrainedMixin


@MODELS.register_module()
class TimmBackbone(PretrainedMixin, BaseModule):
    """Features (B, C, H / stride, W / stride) of a model of timm, e.g. ``convnext_tiny``.

    A ConvNeXt takes ceil(n / stride) positions of n, 161 of 641 at stride 4: zeros surround the
    inputs of its strided convolutions, as in deeplab2 and kmax-deeplab. timm's own takes 160.

    Nothing is downloaded when the network is built. ``init_cfg=dict(type='Pretrained',
    checkpoint=...)`` reads a file or URL of timm, of the ConvNeXt authors or of mmpretrain when
    a runner initializes the weights.

    Args:
        model_name: timm's name of the model.
        with_stem_output: ConvNeXt only: the feature of its stem, of stride 4, comes first, as
            deeplab2 and kmax-deeplab use it on Cityscapes.
        kwargs: further arguments of timm, e.g. ``drop_path_rate``, or ``out_indices``: which of
            its feature levels are given, all by default. ConvNeXt has 0 to 3 at strides 4 to 32;
            a model with a level of stride 2 has 0 to 4.

    Raises:
        MissingPackageError: timm, an optional package, is not installed.
        UserError: timm has no such model, or the checkpoint is that of another model.
        MissingFileError: the checkpoint cannot be read.
    """

    # Names of mmpretrain and of the ConvNeXt authors, and those of timm.
    renamings = (
        ('depthwise_conv|dwconv', 'conv_dw'),
        ('pointwise_conv|pwconv', 'mlp.fc'),
        (r'^stages\.(\d+)\.(\d+)\.', r'stages.\1.blocks.\2.'),
        (r'^downsample_layers\.0\.', 'stem.'),
        (r'^downsample_layers\.(\d+)\.', r'stages.\1.downsample.'),
    )

    def __init__(
        self,
        *,
        model_name: str,
        with_stem_output: bool = False,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ImportError as error:
            raise MissingPackageError(
                'TimmBackbone needs the optional package timm: pip install "cmt-deeplab[timm]", '
                'or timm alone.'
            ) from error
        is_convnext = model_name.startswith('convnext')
        if init_cfg is not None and init_cfg.get('type') != 'Pretrained':
            raise UserError(
                "init_cfg of TimmBackbone is dict(type='Pretrained', checkpoint=...), not of type "
                f'{init_cfg.get("type")!r}: timm initializes its own models.'
            )
        if not timm.is_model(model_name):
            raise UserError(
                f'timm {timm.__version__} knows no model {model_name!r}: see timm.list_models().'
            )
        if with_stem_output and not is_convnext:
            raise UserError(
                f'with_stem_output of TimmBackbone is for ConvNeXt: remove it for {model_name}.'
            )
        self.model = timm.create_model(model_name, pretrained=False, features_only=True, **kwargs)
        self.out_channels = tuple(self.model.feature_info.channels())
        self.strides = tuple(self.model.feature_info.reduction())
        if is_convnext:
            stem = self.model['stem_0']
            _pad_corners(stem, stem.kernel_size[0])
            for name, stage in self.model.items():
                if name.startswith('stages_') and isinstance(stage.downsample, nn.Sequential):
                    # Before the norm: its output at a padded position is its bias, as in deeplab2.
                    _pad_corners(stage.downsample, stage.downsample[-1].kernel_size[0])
        if with_stem_output:
            self.model.return_layers['stem_1'] = 'stem'  # the norm that ends the stem
            self.out_channels = (stem.out_channels, *self.out_channels)
            self.strides = (stem.stride[0], *self.strides)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(x))

    def rename(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        # timm's feature networks flatten two levels: 'stages.0.blocks' becomes 'stages_0.blocks'.
        own = {
            name.replace('.', '_'): (name, value) for name, value in self.model.state_dict().items()
        }
        renamed = {}
        for name, value in super().rename(weights).items():
            name, known = own.get(name.replace('.', '_'), (name, value))
            if value.squeeze().shape == known.squeeze().shape:
                # A linear map in one code base is a 1x1 convolution in another.
                value = value.reshape(known.shape)
            renamed[f'model.{name}'] = value
        return renamed


def _pad_corners(module: nn.Module, kernel_size: int) -> None:
    """Surround the module's inputs with the zeros that make ceil(n / stride) positions of n."""
    before = (kernel_size - 1) // 2
    sides = (before, kernel_size - 1 - before) * 2  # left, right, top, bottom
    module.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], sides))
