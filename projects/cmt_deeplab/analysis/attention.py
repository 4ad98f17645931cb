"""How densely the last layer's attention covers the segments of an image."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size, plane_at_stride, resize_image
from cmt_deeplab.models.transformer import CMTLayer, KMaXLayer, MaXLayer
from cmt_deeplab.models.transformer.retrieval import nearest_center, soft
from cmt_deeplab.models.transformer.transformer_decoder import CMTTransformerDecoder, DecoderOutput
from cmt_deeplab.structures import PADDING_INDEX, VOID_INDEX, PanopticTarget

FOUND = 0.5  # the Dice from which on a segment counts as found by its center
HELD = 0.9  # of the mass inside of a segment
SIZES = (0.01, 0.05, 0.2, 1.0)  # upper ends of the groups of segments, as shares of the image


@dataclass(frozen=True, kw_only=True)
class SegmentAttention:
    """Where the center of one found segment looks.

    ``maps`` (h, w) sum to 1: 'attention' is the mean over the heads of the softmax over the pixels,
    'assignment' that of the softmax over the centers. A layer may lack one of them.
    """

    segment: int  # k of the index plane
    label: int
    share: float  # of the image
    pixels: np.ndarray  # (H, W) bool, the segment in the input without padding
    padded: Size  # the size of the input with padding
    mask: np.ndarray  # (h, w) bool, the segment at the size of the maps
    maps: dict[str, np.ndarray]

    def inside(self, kind: str) -> float:
        """The share of the mass that lies inside of the segment."""
        return float(self.maps[kind][self.mask].sum())

    def covered(self, kind: str) -> float:
        """The share of the segment's pixels that hold 90 % of the mass inside, the fewest."""
        return held_by(self.maps[kind][self.mask])


def held_by(mass: np.ndarray) -> float:
    """The share of the entries, largest first, that hold 90 % of their sum."""
    falling = np.sort(mass, axis=None)[::-1].cumsum()
    return (np.searchsorted(falling, HELD * falling[-1]) + 1) / falling.size


def last_layer(model: nn.Module) -> nn.Module:
    """The last transformer layer of a model.

    Raises:
        UserError: the model is not one of this package.
    """
    decoders = [part for part in model.modules() if isinstance(part, CMTTransformerDecoder)]
    if not decoders:
        raise UserError(
            f'{type(model).__name__} has no decoder with cluster centers: the attention can be '
            'shown of models of this package.'
        )
    return list(chain(*decoders[-1].stages))[-1]


def segment_attention(model: nn.Module, batch: dict[str, Any]) -> list[SegmentAttention]:
    """The attention of the last layer to each segment that its matched center finds.

    Centers are matched with the true segments by the assigner of the model, on the final masks.

    Args:
        batch: a collated test image with its ground truth.

    Raises:
        UserError: the model has no such layers, or the image no ground truth.
    """
    layer = last_layer(model)
    caught: dict[Any, Any] = {}

    def catch(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, DecoderOutput):
            caught['decoder'] = output
        elif module is getattr(layer, 'center_similarity_norm', None):
            caught['to_pixels'] = output

    model.eval()
    with torch.no_grad(), register_module_forward_hook(catch):
        data = model.data_preprocessor(batch, False)
        model(**data, mode='predict')
        sample = data['data_samples'][0]
        if 'gt_panoptic_seg' not in sample:
            raise UserError('The test pipeline loads no ground truth: add LoadPanopticIndexMap.')
        target = target_of(sample, data['inputs'].shape[-2:])
        prediction = caught['decoder'].predictions[-1]
        device = prediction.mask_logits.device
        target = PanopticTarget(target.index.to(device), target.labels.to(device))
        match = model.criterion.assigner(prediction, [target])
    logits = caught['decoder'].assignments[-1][0]  # (h, N, H, W)
    maps = attention_maps(layer, logits, caught.get('to_pixels'))
    plane = plane_at_stride(target.index[None], logits.shape[-2:])[0].cpu().numpy()
    found = (match.centers[0, :-1] >= 0) & (match.dice[0, :-1] >= FOUND)
    whole = target.index.cpu().numpy()
    height, width = input_size(sample)
    rows = []
    for k in found.nonzero()[:, 0].tolist():
        mask, center = plane == k, int(match.centers[0, k])
        chosen = {kind: values[center].cpu().numpy() for kind, values in maps.items()}
        if mask.any() and all(np.isfinite(values).all() for values in chosen.values()):
            pixels = whole[:height, :width] == k
            rows.append(
                SegmentAttention(
                    segment=k,
                    label=int(target.labels[k]),
                    share=float(pixels.mean()),
                    pixels=pixels,
                    padded=whole.shape,
                    mask=mask,
                    maps=chosen,
                )
            )
    return rows


def input_size(sample: Any) -> Size:
    """(H, W) of the input without its padding."""
    return tuple(sample.metainfo.get('input_image_shape', sample.metainfo['img_shape'])[:2])


def target_of(sample: Any, size: Size) -> PanopticTarget:
    """The truth of a test sample at the size of the padded input; crowds are void."""
    truth, segments = sample.gt_panoptic_seg.index_map[0].cpu().numpy(), sample.gt_segments
    inside = input_size(sample)
    # behind the last segment stand padding and void, which have negative indices
    names = np.append(np.arange(len(segments.labels)), [PADDING_INDEX, VOID_INDEX])
    names[:-2][segments.is_crowd.cpu().numpy()] = VOID_INDEX
    index = np.full(size, PADDING_INDEX, np.int16)
    index[: inside[0], : inside[1]] = names[resize_image(truth, *inside, cv2.INTER_NEAREST)]
    return PanopticTarget(torch.from_numpy(index), segments.labels.cpu())


def attention_maps(layer: nn.Module, logits: Tensor, to_pixels: Tensor | None) -> dict[str, Tensor]:
    """The maps (N, H, W) of all centers; each sums to 1 over the pixels.

    ``logits`` (h, N, H, W) are those that the layer gave. In MaX-DeepLab they are those of the
    pixels, and ``to_pixels`` (1, h, N, HW + N) those of the centers, of whose attention the part
    that goes to pixels is taken.
    """
    size, logits = logits.shape[-2:], logits.float().flatten(2)
    assign: Callable = soft
    if isinstance(layer, KMaXLayer):
        assign = nearest_center
    elif isinstance(layer, CMTLayer):
        assign = layer.assign
    maps = dict(assignment=assign(logits).mean(0))
    if not isinstance(layer, KMaXLayer):
        if isinstance(layer, MaXLayer):
            logits = to_pixels[0].float()
        maps['attention'] = logits.softmax(-1).mean(0)[:, : size.numel()]
    return {kind: (m / m.sum(1, keepdim=True)).unflatten(1, size) for kind, m in maps.items()}
