"""Any backbone of timm, ConvNeXt above all: mmdet has none of its own."""
from typing import Any, Dict, Optional, Sequence

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

# mmpretrain's names of what the ConvNeXt authors call dwconv and pwconv
_MMPRETRAIN_NAMES = {'depthwise_conv': 'dwconv', 'pointwise_conv': 'pwconv'}


def _pad_to_ceil(kernel_size: int):
    before = (kernel_size - 1) // 2
    after = kernel_size - 1 - before

    def hook(module: nn.Module, args: tuple) -> tuple:
        return (F.pad(args[0], (before, after, before, after)),)
    return hook


@MODELS.register_module()
class TimmBackbone(BaseModule):
    """Features (B, C, H / stride, W / stride) of a timm model by its name, e.g. ``convnext_tiny``; further arguments are timm's.

    ``out_indices`` count timm's feature levels (ConvNeXt: 0..3 at strides 4..32; models with a stride-2 level: 0..4); by default all
    levels. ``corner_padding`` makes ConvNeXt's patch convolutions take the zeros that give ceil(n / stride) positions, 161 of 641 at
    stride 4, before and after as in kMaX-DeepLab's and deeplab2's ConvNeXt; without it 641 gives 160.

    Weights: nothing is downloaded when the network is built. ``init_cfg=dict(type='Pretrained', checkpoint=...)`` reads a file or URL of
    timm, of the ConvNeXt authors or of mmpretrain when a runner initialises the weights.

    Raises:
        ImportError: timm is not installed (optional extra ``timm``).
        ValueError: timm knows no such model, or the checkpoint shares no weight with it.
        FileNotFoundError: the checkpoint cannot be read.
    """

    def __init__(self, *, model_name: str, out_indices: Optional[Sequence[int]] = None, in_channels: int = 3,
                 corner_padding: bool = True, init_cfg: Optional[dict] = None, **kwargs: Any) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ImportError as error:
            raise ImportError('TimmBackbone needs the optional package timm: pip install "cmt-deeplab[timm]", or timm alone.') from error
        if init_cfg is not None and init_cfg.get('type') != 'Pretrained':
            raise ValueError(f"init_cfg of TimmBackbone is dict(type='Pretrained', checkpoint=...), not of type {init_cfg.get('type')!r}: "
                             'timm initialises its own models')
        if not timm.is_model(model_name):
            raise ValueError(f'timm {timm.__version__} knows no model {model_name!r}: see timm.list_models()')
        if out_indices is not None:
            kwargs['out_indices'] = tuple(out_indices)
        self.model_name = model_name
        self.model = timm.create_model(model_name, pretrained=False, features_only=True, in_chans=in_channels, **kwargs)
        self.out_channels = tuple(self.model.feature_info.channels())
        self.strides = tuple(self.model.feature_info.reduction())
        if corner_padding and model_name.startswith('convnext'):
            self.model['stem_0'].register_forward_pre_hook(_pad_to_ceil(self.model['stem_0'].kernel_size[0]))
            for name, stage in self.model.items():
                if name.startswith('stages_') and isinstance(stage.downsample, nn.Sequential):
                    # before the norm, whose output at a padded position is its bias, as in the sources
                    stage.downsample.register_forward_pre_hook(_pad_to_ceil(stage.downsample[-1].kernel_size[0]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(x))

    def init_weights(self) -> None:
        """Reads the checkpoint of ``init_cfg``, if any; timm has initialised the rest."""
        if self.init_cfg is None or self.is_init:
            return
        source = self.init_cfg['checkpoint']
        try:
            checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu')
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(f'The weights {source} of {self.model_name} cannot be read: download the file and give its path as '
                                    f'backbone.init_cfg.checkpoint ({error}).') from error
        weights = self._rename(checkpoint, self.init_cfg.get('prefix', ''))
        own = self.model.state_dict()
        weights = {key: value.reshape(own[key].shape) for key, value in weights.items() if key in own and value.numel() == own[key].numel()}
        if not weights:
            raise ValueError(f'The weights {source} share no parameter with timm\'s {self.model_name}: name the model that they belong to')
        missing = sorted(set(own) - set(weights))
        self.model.load_state_dict(weights, strict=False)
        MMLogger.get_current_instance().info(f'{self.model_name}: {len(weights)} of {len(own)} tensors from {source}; not found: {missing}')
        self._is_init = True

    def _rename(self, checkpoint: Dict[str, Any], prefix: str) -> Dict[str, Tensor]:
        """The checkpoint's tensors under the names of the feature network."""
        for wrapper in ('state_dict', 'model', 'model_state'):
            if isinstance(checkpoint.get(wrapper), dict):
                checkpoint = checkpoint[wrapper]
        renamed = {}
        for key, value in checkpoint.items():
            if not isinstance(value, Tensor):
                continue
            for wrapper in (prefix and f'{prefix}.', 'module.', 'backbone.', 'model.'):
                key = key[len(wrapper):] if wrapper and key.startswith(wrapper) else key
            for name, original in _MMPRETRAIN_NAMES.items():
                key = key.replace(name, original)
            renamed[self._author_names(key)] = value
        # timm's feature networks flatten their first two levels: 'stages.0.blocks' is 'stages_0.blocks' there
        flat = {key.replace('.', '_'): key for key in self.model.state_dict()}
        return {flat[key.replace('.', '_')]: value for key, value in renamed.items() if key.replace('.', '_') in flat}

    @staticmethod
    def _author_names(key: str) -> str:
        """timm's name of a ConvNeXt weight that has its authors' name; other names pass."""
        parts = key.split('.')
        if parts[0] == 'downsample_layers':
            parts = ['stem', *parts[2:]] if parts[1] == '0' else ['stages', parts[1], 'downsample', *parts[2:]]
        elif parts[0] == 'stages' and len(parts) > 3 and parts[2].isdigit():
            parts.insert(2, 'blocks')
        return '.'.join(parts).replace('dwconv', 'conv_dw').replace('pwconv', 'mlp.fc')
