"""Any backbone of timm; above all ConvNeXt, which mmdet does not have."""

from collections.abc import Iterator
from typing import Any

import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from cmt_deeplab.errors import MissingPackageError, UserError

from .pretrained import PRETRAINED, PretrainedMixin, init_configs
from .stages import NOTHING_FROZEN, StagesMixin

FINEST_STRIDE = 4  # of the features that are given by default


@MODELS.register_module()
class TimmBackbone(StagesMixin, PretrainedMixin, BaseModule):
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
        with_head_output: EfficientNet and MobileNetV2 only: the last feature is what the classifier
            of the whole network reads, 1280 channels behind an activation, and not the 320 before.
        frozen_stages, norm_eval, with_cp: see :class:`StagesMixin`. The stages are timm's feature
            levels of stride 4 and more; of a plain vision transformer these are its blocks. All
            that comes before the first one is the stem.
        kwargs: further arguments of timm, e.g. ``drop_path_rate``, ``img_size``, or
            ``out_indices``: which of its feature levels are given. By default these are all of
            stride 4 and more. ConvNeXt has the levels 0 to 3 at strides 4 to 32; a model with a
            level of stride 2 has 0 to 4.

    Raises:
        MissingPackageError: timm, an optional package, is not installed.
        UserError: timm has no such model or does not take the arguments, or the checkpoint is
            that of another model.
        MissingFileError: the checkpoint cannot be read.
    """

    further_arguments = True  # those of timm
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
        with_head_output: bool = False,
        frozen_stages: int = NOTHING_FROZEN,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(init_cfg)
        self.model_name = model_name
        is_convnext = model_name.startswith('convnext')
        if with_stem_output and not is_convnext:
            raise UserError(
                f'with_stem_output of TimmBackbone is for ConvNeXt: remove it for {model_name}.'
            )
        self.model = create_model(self, model_name, dict(features_only=True), kwargs)
        levels = self.model.feature_info
        strides = levels.reduction()
        self.first = 0  # the first level that is given
        if 'out_indices' not in kwargs and max(strides) >= FINEST_STRIDE:
            self.first = next(i for i, stride in enumerate(strides) if stride >= FINEST_STRIDE)
        self.channels_last = getattr(self.model, 'output_fmt', None) == 'NHWC'
        self.out_channels = tuple(levels.channels()[self.first :])
        self.strides = tuple(strides[self.first :])
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
        self.with_head_output = with_head_output
        if with_head_output:
            others = {key: value for key, value in kwargs.items() if key != 'out_indices'}
            self.add_head(create_model(self, model_name, dict(num_classes=0), others))
        children = getattr(self.model, 'model', self.model).children()
        self.set_stages(
            self.find_stages(model_name) if frozen_stages != NOTHING_FROZEN else [],
            [block for child in children for block in _blocks(child)],
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            with_cp=with_cp,
        )

    def add_head(self, whole: nn.Module) -> None:
        """Take the convolution and the norm of a whole network that come before its classifier."""
        if type(whole).__name__ != 'EfficientNet':
            raise UserError(
                f'{self.model_name} is a {type(whole).__name__} of timm, which has no convolution '
                'between its last feature and the pooling: remove with_head_output.'
            )
        if whole.conv_head.in_channels != self.out_channels[-1]:
            raise UserError(
                f'with_head_output of {self.model_name} needs its last level: add it to '
                'out_indices, or remove with_head_output.'
            )
        self.model.conv_head, self.model.bn2 = whole.conv_head, whole.bn2  # their names in files
        self.out_channels = (*self.out_channels[:-1], whole.num_features)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features = self.model(x)[self.first :]
        if self.with_head_output:
            features[-1] = self.model.bn2(self.model.conv_head(features[-1]))
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2).contiguous() for feature in features]
        return tuple(features)

    def find_stages(self, model_name: str) -> list[list[nn.Module | nn.Parameter]]:
        """What the stem and each stage consist of; modules between two stages belong to the next.

        timm registers modules in the order in which they run.
        """
        modules = dict(self.model.named_modules())
        names = {name.removeprefix('model.').replace('.', '_'): name for name in modules}
        info = self.model.feature_info
        levels = info.info[: max(info.out_indices) + 1]
        ends = [
            names.get(level['module'].replace('.', '_'))
            for level in levels
            if level['reduction'] >= FINEST_STRIDE
        ]
        if None in ends:
            raise UserError(
                f'TimmBackbone does not know the stages of {model_name}: remove frozen_stages, or '
                'freeze all of them by model.freeze_backbone=True.'
            )
        stages: list[list] = [[] for _ in range(len(ends) + 2)]
        begun = 0
        for name, module in modules.items():
            inside = [i for i, end in enumerate(ends) if f'{name}.'.startswith(f'{end}.')]
            if not inside and any(end.startswith(f'{name}.' if name else '') for end in ends):
                stages[0] += module.parameters(recurse=False)  # it contains stages
                continue
            begun = max([begun, *(i + 1 for i in inside)])
            stages[begun if inside or not begun else begun + 1].append(module)
        return stages[:-1]  # without what follows the last stage

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


def create_model(
    backbone: BaseModule, model_name: str, own: dict[str, Any], kwargs: dict[str, Any]
) -> nn.Module:
    """A model of timm without weights.

    Args:
        own: timm's arguments that the backbone sets itself.
        kwargs: those of its config.

    Raises:
        MissingPackageError: timm is not installed.
        UserError: timm has no such model or does not take the arguments, or the backbone's
            ``init_cfg`` is not of type 'Pretrained'.
    """
    kind, init_cfg = type(backbone).__name__, backbone.init_cfg
    try:
        import timm
    except ImportError as error:
        raise MissingPackageError(
            f'{kind} needs the optional package timm: pip install "cmt-deeplab[timm]", or timm '
            'alone.'
        ) from error
    if any(cfg.get('type') not in PRETRAINED for cfg in init_configs(init_cfg)):
        raise UserError(
            f"init_cfg of {kind} is dict(type='Pretrained', checkpoint=...), and not {init_cfg}: "
            'timm initializes its own models.'
        )
    if not timm.is_model(model_name):
        raise UserError(
            f'timm {timm.__version__} knows no model {model_name!r}: see timm.list_models().'
        )
    for key in {'pretrained', 'features_only', 'checkpoint_path', *own} & set(kwargs):
        raise UserError(
            f'{kind} sets {key} of timm itself: remove the key; weights are those of '
            "init_cfg=dict(type='Pretrained', checkpoint=...)."
        )
    try:
        return timm.create_model(model_name, **own, **kwargs)
    except Exception as error:  # whatever the constructors of timm raise
        text = str(error).partition('\n')[0].rstrip('.') or type(error).__name__
        raise UserError(
            f'timm does not build {model_name} with the arguments {kwargs} of {kind} ({text}): '
            'correct or remove them.'
        ) from error


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a network: what its sequences consist of, less the single layers."""
    inner = getattr(module, 'blocks', module)
    if isinstance(inner, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        for child in inner.children():
            yield from _blocks(child)
    elif next(module.children(), None) is not None:
        yield module


def _pad_corners(module: nn.Module, kernel_size: int) -> None:
    """Surround the module's inputs with the zeros that make ceil(n / stride) positions of n."""
    before = (kernel_size - 1) // 2
    sides = (before, kernel_size - 1 - before) * 2  # left, right, top, bottom
    module.register_forward_pre_hook(lambda _, inputs: F.pad(inputs[0], sides))
