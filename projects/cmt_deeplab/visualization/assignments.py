"""Which cluster center every pixel belongs to, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cmt_deeplab.errors import UserError
from cmt_deeplab.geometry import nearest_pixels

from .palette import Color, distinct_colors


@dataclass(frozen=True)
class AssignmentMap:
    """The pixel-cluster assignment of one layer for one image, at the size of the network's input without its padding."""

    name: str
    centers: np.ndarray  # (H, W) int64, the center with the largest share of the pixel
    confidence: np.ndarray  # (H, W) float32, that share: 1/N where all centers are equal, 1 where one has the whole pixel


def assignment_maps(model: nn.Module, data_batch: Mapping[str, Any]) -> list[list[AssignmentMap]]:
    """For each image of a collated batch the maps of all layers in the order they run; the last one is the final prediction's.

    A layer's map is the softmax of its assignment logits over the centers, averaged over its heads; the final one is the softmax of the
    mask logits. The decoder's output is caught by a forward hook, so that every model around such a decoder can be looked at, unchanged.
    Raises ``ValueError`` when the model has none.
    """
    from cmt_deeplab.models.transformer.transformer_decoder import DecoderOutput

    caught: list[DecoderOutput] = []

    def catch(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, DecoderOutput):
            caught[:] = [output]

    was_training = model.training
    model.eval()
    handles = [m.register_forward_hook(catch) for m in model.modules()]
    try:
        with torch.no_grad():
            data = model.data_preprocessor(data_batch, False)
            model(**data, mode='predict')
    finally:
        for handle in handles:
            handle.remove()
        model.train(was_training)
    if not caught:
        raise UserError(
            f'{type(model).__name__} has no decoder that assigns pixels to centers: assignment pictures need a model of this '
            'package.'
        )
    layers = [
        logits.float().softmax(dim=2).mean(dim=1) for logits in caught[0].assignments
    ]  # (B, N, H, W) each
    stages = layers + [caught[0].predictions[-1].mask_logits.float().softmax(dim=1)]
    padded = tuple(data['inputs'].shape[-2:])
    names = [f'layer {i + 1}' for i in range(len(layers))] + ['final mask']
    images = []
    for b, sample in enumerate(data['data_samples']):
        inside = tuple(sample.metainfo.get('input_image_shape', sample.metainfo['img_shape'])[:2])
        images.append(
            [_to_input(name, stage[b], padded, inside) for name, stage in zip(names, stages)]
        )
    return images


def _to_input(
    name: str, shares: Tensor, padded: tuple[int, int], image: tuple[int, int]
) -> AssignmentMap:
    confidence, centers = shares.max(dim=0)  # (h, w)
    rows, columns = (nearest_pixels(*sizes) for sizes in zip(image, padded, centers.shape))
    stride = (
        round((padded[0] - 1) / max(1, centers.shape[0] - 1))
        if padded[0] % 2
        else round(padded[0] / centers.shape[0])
    )
    centers, confidence = (
        plane.cpu().numpy()[rows[:, None], columns] for plane in (centers, confidence)
    )
    return AssignmentMap(f'{name}, stride {stride}', centers, confidence)


def center_colors(
    final: AssignmentMap, segment_map: np.ndarray, colors: Mapping[int, Color], *, num_centers: int
) -> np.ndarray:
    """``(N, 3)`` uint8, one color a center for all layers of an image.

    A center most of whose pixels end up in one predicted segment has that segment's color (several centers of one segment: shades of it),
    so that one can follow a segment back through the layers. All other centers have pale colors.
    """
    table = distinct_colors(num_centers).astype(np.float64) * 0.45 + 0.55 * 238
    rows = np.arange(final.centers.shape[0]) * segment_map.shape[0] // final.centers.shape[0]
    columns = np.arange(final.centers.shape[1]) * segment_map.shape[1] // final.centers.shape[1]
    seen = segment_map[rows[:, None], columns]
    shades: dict[int, int] = {}
    areas = np.bincount(final.centers.ravel(), minlength=num_centers)
    for center in np.argsort(-areas, kind='stable'):
        if areas[center] == 0:
            break
        own = np.bincount(seen[final.centers == center])
        segment = int(own.argmax())
        if segment in colors and 2 * own[segment] > areas[center]:
            shade = shades[segment] = shades.get(segment, -1) + 1
            table[center] = np.asarray(colors[segment]) * (1.0, 0.78, 0.62, 0.9)[shade % 4]
    return table.round().astype(np.uint8)


def draw_assignment(assignment: AssignmentMap, table: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB: each pixel in the color of its center, fading to white where the layer is undecided."""
    weight = 0.3 + 0.7 * np.sqrt(assignment.confidence.clip(0, 1))[..., None]
    return (table[assignment.centers] * weight + 255 * (1 - weight)).round().astype(np.uint8)
