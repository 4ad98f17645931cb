"""Learning rates that decay from layer to layer of a backbone, from its end to its stem."""

import re
from collections.abc import Iterator

from torch import nn

from cmt_deeplab.errors import UserError

STEM, END = (-1, 0), (10**6, 0)  # before the first block, and behind the last
DECAY_TYPES = ('layer_wise', 'stage_wise')
# Beginnings of the names of parameters; 'stages_0' of timm is read as 'stages.0'.
IN_THE_STEM = re.compile(
    r'(patch_embed|stem|conv_stem|conv1|bn1|norm_pre|(cls|reg|dist|mask)_token|pos_embed'
    r'|absolute_pos_embed|rel_pos_bias)\b'
)
AT_THE_END = re.compile(r'(norm\d*|fc_norm|pyramid)\.')
BLOCKS = (
    re.compile(r'(?:stages|layers)\.(\d+)\.blocks\.(\d+)\.'),  # Swin, timm's ConvNeXt
    re.compile(r'(?:layer|stage|stages\.)(\d+)\.(\d+)\.'),  # ResNets
    re.compile(r'blocks\.(\d+)\.(\d*)'),  # ViT, EfficientNet
    re.compile(r's(\d+)\.b(\d+)\.'),  # timm's RegNet
)
BETWEEN_STAGES = re.compile(r'(?:stages|layers)\.(\d+)\.(downsample|norm)\.')


def layer_lr_factors(
    model: nn.Module, *, decay_rate: float | None = None, decay_type: str = 'layer_wise'
) -> dict[str, float]:
    """The factor of the learning rate of each parameter of the backbone, by its name in the model.

    It is ``decay_rate ** (L + 1 - l)`` for layer l of 0 (the stem) to L. A layer is a block of the
    backbone, or with 'stage_wise' a stage; the norms of the outputs learn as fast as the head.
    As in the recipes of their authors, a layer of a ConvNeXt is a stage, or three blocks of its
    third stage; the convolution between two stages belongs to the second one there, and to the
    last block of the first one in a Swin Transformer.

    Raises:
        UserError: a value is wrong, or the layers of the backbone are not known.

    Source: ``LearningRateDecayOptimizerConstructor`` of mmdet for ConvNeXt, BEiT (ICLR 2022) for
    ViT, SimMIM (CVPR 2022) for Swin.
    """
    if not isinstance(decay_rate, int | float) or not 0 < decay_rate <= 1:
        raise UserError(
            f'optim_wrapper.paramwise_cfg.decay_rate is {decay_rate!r}, but is a number in (0, 1].'
        )
    if decay_type not in DECAY_TYPES:
        raise UserError(
            f'optim_wrapper.paramwise_cfg.decay_type is {decay_type!r}, but is '
            f'{" or ".join(map(repr, DECAY_TYPES))}.'
        )
    factors = {}
    for prefix, backbone in _backbones(model):
        positions = _positions(backbone)
        if decay_type == 'stage_wise':
            positions = {
                name: place if place == END else (place[0], 0) for name, place in positions.items()
            }
        layers = sorted({STEM, *positions.values()} - {END})
        for name, place in positions.items():
            steps = 0 if place == END else len(layers) - layers.index(place)
            factors[f'{prefix}.{name}'] = float(decay_rate) ** steps
    return factors


def _backbones(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    found = [
        (name, module)
        for name, module in model.named_modules()
        if name.rpartition('.')[2] == 'backbone'
    ]
    if not found:
        raise UserError(
            f'{type(model).__name__} has no backbone whose learning rate could decay: remove '
            'optim_wrapper.paramwise_cfg.decay_rate.'
        )
    yield from found


def _positions(backbone: nn.Module) -> dict[str, tuple[int, int]]:
    """Stage and block of each parameter."""
    kind = f'{type(backbone).__name__} {getattr(backbone, "model_name", "")}'.strip()
    is_convnext = 'convnext' in kind.lower()
    at_the_start = isinstance(getattr(backbone, 'model_name', None), str)  # of a stage, in timm
    positions, between = {}, {}
    for full_name, _ in backbone.named_parameters():
        name = re.sub(r'^((?:model\.)*(?:stages|layers|stem))_(\d)', r'\1.\2', full_name)
        name = re.sub(r'^(?:model\.)+', '', name)
        block = next(filter(None, (pattern.match(name) for pattern in BLOCKS)), None)
        if block:
            stage, index = int(block[1]), int(block[2] or 0)
            if is_convnext:
                index = index // 3 if stage == 2 else 0
            positions[full_name] = stage, index
        elif match := BETWEEN_STAGES.match(name):
            before = match[2] == 'downsample' and at_the_start and not is_convnext
            between[full_name] = int(match[1]) - before
        elif IN_THE_STEM.match(name) or AT_THE_END.match(name):
            positions[full_name] = STEM if IN_THE_STEM.match(name) else END
        else:
            raise UserError(
                f'optim_wrapper.paramwise_cfg.decay_rate: the layers of {kind} are not known (that '
                f"of '{full_name}'): remove the key, or use a ResNet, Swin, ConvNeXt or ViT."
            )
    choose = min if is_convnext else max
    for name, stage in between.items():
        positions[name] = choose(place for place in positions.values() if place[0] == stage)
    return positions
