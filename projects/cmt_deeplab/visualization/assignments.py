"""Which cluster center every pixel belongs to, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import Size, nearest_pixels, resize_image, stride_between
from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput

from .palette import Color, distinct_colors


@dataclass(frozen=True)
class AssignmentMap:
    """The assignment of pixels to cluster centers in one layer, for one image.

    Both arrays have the size of the network's input without its padding.
    """

    name: str
    centers: np.ndarray  # (H, W) int64, the center with the largest share of each pixel
    confidence: np.ndarray  # (H, W) float32, that share: from 1/N (all equal) to 1 (the only one)


def assignment_maps(model: nn.Module, data_batch: Mapping[str, Any]) -> list[list[AssignmentMap]]:
    """The assignment maps of all layers for each image of a collated batch, in their order.

    The map of a layer is the softmax of its assignment logits over the centers, averaged over its
    heads. The last map is the softmax of the final mask logits. A forward hook takes the output of
    the decoder, so every model with such a decoder can be looked at without a change.

    Raises:
        UserError: the model has no such decoder.
    """
    caught: list[DecoderOutput] = []

    def catch(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, DecoderOutput):
            caught.append(output)

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), register_module_forward_hook(catch):
            data = model.data_preprocessor(data_batch, False)
            model(**data, mode='predict')
    finally:
        model.train(was_training)
    if not caught:
        raise UserError(
            f'{type(model).__name__} has no decoder that assigns pixels to centers: pictures of '
            'the assignment need a model of this package.'
        )
    output = caught[-1]
    stages = {  # (B, N, h, w) each
        f'layer {i}': logits.float().softmax(dim=2).mean(dim=1)
        for i, logits in enumerate(output.assignments, start=1)
    }
    stages['final mask'] = output.predictions[-1].mask_logits.float().softmax(dim=1)
    padded = tuple(data['inputs'].shape[-2:])
    images = []
    for b, sample in enumerate(data['data_samples']):
        inside = sample.metainfo.get('input_image_shape', sample.metainfo['img_shape'])[:2]
        images.append([_at_input(name, s[b], padded, inside) for name, s in stages.items()])
    return images


def _at_input(name: str, shares: Tensor, padded: Size, inside: Size) -> AssignmentMap:
    """The map of one layer's shares (N, h, w) at the input's size, cut to ``inside``."""
    confidence, centers = shares.max(dim=0)  # (h, w)
    rows, columns = (nearest_pixels(*sides) for sides in zip(inside, padded, centers.shape))
    return AssignmentMap(
        f'{name}, stride {stride_between(padded[0], centers.shape[0])}',
        *(plane.cpu().numpy()[rows[:, None], columns] for plane in (centers, confidence)),
    )


def center_colors(
    final: AssignmentMap, segment_map: np.ndarray, colors: Mapping[int, Color], *, num_centers: int
) -> np.ndarray:
    """Colors (N, 3) uint8 of the centers, for all layers of an image.

    A center most of whose pixels end up in one predicted segment has the color of that segment, so
    that the segment can be followed back through the layers. Several centers of one segment have
    shades of its color. All other centers are pale.
    """
    table = 0.45 * distinct_colors(num_centers) + 0.55 * 238.0
    plane = segment_map.astype(np.int32)
    segments = resize_image(plane, *final.centers.shape, cv2.INTER_NEAREST)
    areas = np.bincount(final.centers.ravel(), minlength=num_centers)
    shades = {segment: cycle((1.0, 0.78, 0.62, 0.9)) for segment in colors}
    for center in np.argsort(-areas, kind='stable'):
        own = np.bincount(segments[final.centers == center], minlength=1)
        segment = int(own.argmax())
        if segment in colors and 2 * own[segment] > areas[center]:
            table[center] = np.multiply(next(shades[segment]), colors[segment])
    return table.round().astype(np.uint8)


def draw_assignment(assignment: AssignmentMap, table: np.ndarray) -> np.ndarray:
    """RGB picture (H, W, 3) uint8 in which every pixel has the color of its center.

    ``table`` is that of ``center_colors``. Where the layer is undecided, the color fades to white.
    """
    weight = 0.3 + 0.7 * np.sqrt(assignment.confidence.clip(0, 1))[..., None]
    return (table[assignment.centers] * weight + 255 * (1 - weight)).round().astype(np.uint8)
