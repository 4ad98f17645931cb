"""Whether parts that are not of this package give what the panoptic head reads of them."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial

import torch
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.slots import DECODER, HEAD
from cmt_deeplab.structures import MaskPrediction

from .predictor import PredictorCall

SIDE, BATCH = 4, 2  # pixels per side of the coarsest feature, and images


def try_out_foreign_parts(
    head: nn.Module, features: Sequence[tuple[int, int]], *, align_corners: bool, num_classes: int
) -> None:
    """Run a copy of a panoptic head once, as in training, if a part of it is of another package.

    The head itself and the random numbers stay as they are.

    Args:
        features: width and stride of each feature that comes in, fine to coarse.

    Raises:
        UserError: a part gives something else than its slot needs.
    """
    kinds = {type(part) for _, part in _parts(head)}
    foreign = {kind for kind in kinds if not kind.__module__.startswith('cmt_deeplab.')}
    if not foreign or torch.get_default_device().type == 'meta':
        return
    try:
        head, extra = deepcopy(head).train(), int(align_corners)
    except Exception:  # weights that a user's part computes of others, for example
        return
    with torch.random.fork_rng():
        sides = [(SIDE - extra) * features[-1][1] // stride + extra for _, stride in features]
        maps = [torch.randn(BATCH, width, side, side) for (width, _), side in zip(features, sides)]
        for slot, part in _parts(head):
            if type(part) in foreign and slot == f'{HEAD}.pixel_decoder':
                _check_stages(part, maps)
            elif type(part) in foreign:
                check = partial(_check, slot=slot, num_classes=num_classes)
                part.register_forward_hook(check, with_kwargs=True)
        head(maps)


def _parts(head: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The slots of a head that parts of a user may fill, and what is in them."""
    decoder = head.transformer_decoder
    yield f'{HEAD}.pixel_decoder', head.pixel_decoder
    for layers in getattr(decoder, 'stages', ()):
        for layer in layers:
            yield f'{DECODER}.layer', layer
    if hasattr(decoder, 'predictor'):
        yield f'{HEAD}.predictor', decoder.predictor
    if head.semantic_head is not None:
        yield f'{HEAD}.semantic_head', head.semantic_head


def _check_stages(decoder: nn.Module, features: Sequence[Tensor]) -> None:
    """Run a pixel decoder without layers between its stages."""
    key, widths, x = f'{HEAD}.pixel_decoder ({type(decoder).__name__})', [], None
    for i, skip in enumerate(decoder.skips(features)):
        x = decoder.stage(i, x, skip)
        widths.append(x.shape[1] if isinstance(x, Tensor) and x.dim() == 4 else None)
    if widths != list(decoder.out_channels):
        raise UserError(
            f'{key}: its stages give maps (B, C, H, W) of {widths} channels, but its out_channels '
            f'are {list(decoder.out_channels)}: both must be equal, and there is one for each of '
            'its skips.'
        )


def _check(
    part: nn.Module, inputs: tuple, named: dict, output: object, *, slot: str, num_classes: int
) -> None:
    """Forward hook: compare the output with what the slot needs."""
    problem = _problem(slot.rpartition('.')[2], inputs, named, output, num_classes + 1)
    if problem:
        raise UserError(f'{slot} ({type(part).__name__}): its forward must return {problem}.')


def _problem(slot: str, inputs: tuple, named: dict, output: object, classes: int) -> str | None:
    """What the output should be and is not."""
    if slot == 'semantic_head':
        right = isinstance(output, Tensor) and output.dim() == 4 and output.shape[1] == classes
        return None if right else f'logits (B, {classes}, H, W), with void as the last class'
    pixels, centers = inputs[:2]
    number = centers.shape[2]
    if slot == 'layer':
        if not (isinstance(output, tuple) and len(output) == 4):
            return 'a LayerOutput: pixels, centers, logits, prediction'
        if output[0].shape != pixels.shape or output[1].shape != centers.shape:
            return 'pixels (B, Dp, H, W) and centers (B, D, N) of the shapes that came in'
        logits = output[2]
        if logits.dim() != 5 or logits.shape[2:] != (number, *pixels.shape[2:]):
            return 'logits of the shape (B, heads, N, H, W)'
        asked, prediction = named.get('predict', False), output[3]
        if asked and not isinstance(prediction, MaskPrediction | PredictorCall):
            return 'a MaskPrediction as its prediction where predict=True (deep_supervision)'
        return None
    if not isinstance(output, MaskPrediction):
        return 'a MaskPrediction'
    batch = len(pixels)
    if output.mask_logits.shape[:2] != (batch, number) or output.mask_logits.dim() != 4:
        return 'a MaskPrediction with mask_logits (B, N, H, W)'
    if output.class_logits.shape != (batch, number, classes):
        return f'a MaskPrediction with class_logits (B, N, {classes}), with void as the last class'
    size = getattr(output.pixel_features, 'shape', ())
    if len(size) != 4 or size[2:] != output.mask_logits.shape[2:]:
        return 'a MaskPrediction with pixel_features (B, F, H, W), as large as its mask_logits'
    return None
