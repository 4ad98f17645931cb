"""What a backbone gives, found by running it once on images that have no values."""

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.registry import MODELS
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from cmt_deeplab.construction import name_of
from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size, padded_side, stride_between
from cmt_deeplab.models.backbones.timm_backbone import TimmBackbone
from cmt_deeplab.models.blocks.norm import build_norm

ANY_SIZE = (224, 256)  # of the input where batches may differ; a fixed size does not pass
OTHER_SIDES = (64, 128, 224, 256, 384)  # what backbones with windows or a fixed size may want
STRIDES = tuple(2**k for k in range(1, 8))


class Features(NamedTuple):
    """Widths and strides of a backbone's features, fine to coarse."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]


class Unfit(Exception):
    """Why a backbone does not suit an input, as a part of a sentence."""


def probe_backbone(
    backbone: nn.Module, config: dict, *, size: Size | None, align_corners: bool
) -> Features:
    """Widths and strides of the features of ``backbone`` for inputs of ``size``.

    The backbone runs on torch's device 'meta', once as in evaluation and once as in training. That
    takes neither memory nor time, draws no random number and leaves all statistics alone. Where it
    cannot run there, it runs on images of zeros.

    Args:
        config: from which the backbone was built.
        size: (H, W) of the model's input, or None where each batch may have its own.

    Raises:
        UserError: the backbone does not give a tuple of maps (B, C, H, W), fine to coarse, or it
            does not suit inputs of this size; the message then names a size that it suits.
    """
    wanted = size or tuple(padded_side(side, align_corners=align_corners) for side in ANY_SIZE)
    try:
        return _features(backbone, wanted, align_corners=align_corners)
    except Unfit as unfit:
        name = ' '.join(filter(None, (type(backbone).__name__, config.get('model_name'))))
        raise UserError(
            f'model.backbone ({name}) does not fit: with inputs of {wanted[0]}x{wanted[1]} pixels'
            f'{" (model.data_preprocessor.size)" if size else ""} and '
            f'align_corners={align_corners} {unfit}; '
            f'{_remedy(backbone, config, size, align_corners)}.'
        ) from unfit


def _features(backbone: nn.Module, size: Size, *, align_corners: bool) -> Features:
    """As :func:`probe_backbone`, but raises :class:`Unfit`."""
    maps, in_training = (_maps(_run(backbone, size, training=mode)) for mode in (False, True))
    if [feature.shape for feature in maps] != [feature.shape for feature in in_training]:
        raise Unfit('its features have another shape in training than in evaluation')
    strides = [_stride(size, feature.shape[-2:], align_corners) for feature in maps]
    if isinstance(backbone, TimmBackbone) and tuple(strides) != backbone.strides:
        raise Unfit(f'its features have the strides {strides} in place of {backbone.strides}')
    if strides != sorted(strides):
        raise Unfit(f'its features have the strides {strides}, which are not fine to coarse')
    return Features(tuple(feature.shape[1] for feature in maps), tuple(strides))


def _maps(output: object) -> Sequence[Tensor]:
    """The output of a backbone, if it is a tuple of maps for the batch of two."""
    if not isinstance(output, list | tuple):
        raise Unfit(f'it gives a {type(output).__name__} and no tuple of feature maps')
    for feature in output:
        if not isinstance(feature, Tensor) or feature.dim() != 4:
            shape = f' {tuple(feature.shape)}' if isinstance(feature, Tensor) else ''
            raise Unfit(f'it gives a {type(feature).__name__}{shape} and no map (B, C, H, W)')
    if not output:
        raise Unfit('it gives no feature maps')
    return output


def _stride(size: Size, small: Sequence[int], align_corners: bool) -> int:
    """The one stride of a map."""
    stride = stride_between(size[0], small[0])
    if stride not in STRIDES or stride != stride_between(size[1], small[1]):
        rule = '(side - 1) / stride + 1' if align_corners else 'side / stride'
        raise Unfit(
            f'it gives a map of {small[0]}x{small[1]} pixels, which is {rule} for no stride of '
            f'{", ".join(map(str, STRIDES))}'
        )
    return stride


def _run(backbone: nn.Module, size: Size, *, training: bool) -> object:
    """The output for two images; on the device 'meta' if the backbone runs there."""
    try:
        with _mode(backbone, training):
            try:
                return _call(backbone, torch.empty(2, 3, *size, device='meta'))
            except (RuntimeError, NotImplementedError) as error:
                if 'meta' not in str(error).lower():
                    raise
            device = next(backbone.parameters(), torch.empty(0)).device
            with torch.random.fork_rng():
                return _call(backbone, torch.zeros(2, 3, *size, device=device))
    except UserError:
        raise
    except Exception as error:  # whatever the code of a backbone raises
        reason = str(error).strip().partition('\n')[0][:200].rstrip('.')
        reason = f'{type(error).__name__}: {reason}'.removesuffix(': ')
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        place = f'{Path(frame.f_code.co_filename).name}, line {line}'
        raise Unfit(f'it fails with "{reason}" ({place})') from error


@torch.no_grad()
def _call(backbone: nn.Module, images: Tensor) -> object:
    """The output of copies of the backbone's tensors, so that its statistics stay."""
    state = {**dict(backbone.named_parameters()), **dict(backbone.named_buffers())}
    copies = {name: value.detach().to(images.device, copy=True) for name, value in state.items()}
    return functional_call(backbone, copies, (images,))


@contextmanager
def _mode(backbone: nn.Module, training: bool) -> Iterator[None]:
    """Inside, the backbone is in training or not; what it keeps of a call is forgotten afterwards.

    Batch norms keep no statistics and change nothing: on 'meta' they are slow, and those of several
    processes would wait for each other.
    """
    before = {module: dict(vars(module)) for module in backbone.modules()}
    values = [value for state in before.values() for value in state.values()]
    kept = [(value, value.copy()) for value in values if isinstance(value, dict | list | set)]
    backbone.train(training)
    for module in before:
        if isinstance(module, _BatchNorm):
            module.forward = lambda x: x
    try:
        yield
    finally:
        for module, state in before.items():
            vars(module).clear()
            vars(module).update(state)
        for value, content in kept:
            value.clear()
            getattr(value, 'extend' if isinstance(value, list) else 'update')(content)


def _remedy(backbone: nn.Module, config: dict, size: Size | None, align_corners: bool) -> str:
    """Values of the config with which the backbone fits, found by trying."""
    cells = tuple(
        padded_side(side - align_corners, align_corners=False) for side in size or ANY_SIZE
    )
    others = {(side, side) for side in OTHER_SIDES} | {
        tuple(-(-side // divisor) * divisor for side in cells) for divisor in OTHER_SIDES
    }
    pixels = cells[0] * cells[1]
    nearest = sorted(others - {cells}, key=lambda other: (abs(other[0] * other[1] - pixels), other))
    with_size = isinstance(backbone, TimmBackbone) and 'img_size' not in config
    trials = [(cells, False), *[(cells, True)] * with_size, *((other, False) for other in nearest)]
    for (height, width), img_size in trials:
        for aligned in (True, False) if align_corners else (False,):
            side = (height + aligned, width + aligned)
            try:
                model = MODELS.build(dict(config, img_size=side)) if img_size else backbone
                _features(model, side, align_corners=aligned)
            except Exception:  # a trial that fails, whatever timm raises
                continue
            keys = [] if aligned == align_corners else ['model.align_corners=False']
            keys += [f'model.backbone.img_size={side}'] * img_size
            if side != size and (size or img_size or (height, width) != cells):
                keys.append(
                    f'model.data_preprocessor.size={side}, which is the image_size of the data '
                    'sets too'
                )
            return f'it fits with {" and ".join(keys)}'
    other = (
        ' (TimmViT for a plain vision transformer)' if isinstance(backbone, TimmBackbone) else ''
    )
    return f'correct its arguments (out_indices, for example), or use another backbone{other}'


def blamed(error: UserError, config: dict, works: Callable[[dict], bool]) -> UserError:
    """The error about a backbone, with the key that is to blame where ``error`` names none.

    What mmdet's backbones say of a wrong norm or number of frozen stages does not. A key is to
    blame if the backbone ``works`` without it.
    """
    keys = ('norm_cfg', 'frozen_stages') if isinstance(config, Mapping) else ()
    for key in keys:
        if key not in config or not works(
            {name: value for name, value in config.items() if name != key}
        ):
            continue
        if key == 'frozen_stages':
            return UserError(
                f'model.backbone.frozen_stages is {config[key]!r}, which {name_of(config["type"])} '
                'refuses: give -1 for none, 0 for the stem, or k for its first k stages too.'
            )
        try:
            build_norm(config[key], 64)
        except UserError as sentence:
            return UserError(f'model.backbone.{sentence}')
    return error
