"""Which cluster centre every pixel belongs to, layer by layer."""
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from .palette import Colour, distinct_colours


@dataclass(frozen=True)
class AssignmentMap:
    """The pixel-cluster assignment of one layer for one image, at the size of the network's input without its padding."""
    name: str
    centres: np.ndarray  # (H, W) int64, the centre with the largest share of the pixel
    confidence: np.ndarray  # (H, W) float32, that share: 1/N where all centres are equal, 1 where one has the whole pixel


def assignment_maps(model: nn.Module, data_batch: Mapping[str, Any]) -> List[List[AssignmentMap]]:
    """For each image of a collated batch the maps of all layers in the order they run; the last one is the final prediction's.

    A layer's map is the softmax of its assignment logits over the centres, averaged over its heads; the final one is the softmax of the
    mask logits. The decoder's output is caught by a forward hook, so that every model around such a decoder can be looked at, unchanged.
    Raises ``ValueError`` when the model has none.
    """
    from ..models.transformer_decoder import DecoderOutput

    caught: List[DecoderOutput] = []

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
        raise ValueError(f'{type(model).__name__} has no decoder that assigns pixels to centres: assignment pictures need a model of this '
                         'package.')
    layers = [logits.float().softmax(dim=2).mean(dim=1) for logits in caught[0].assignments]  # (B, N, H, W) each
    stages = layers + [caught[0].predictions[-1].mask_logits.float().softmax(dim=1)]
    padded = tuple(data['inputs'].shape[-2:])
    names = [f'layer {i + 1}' for i in range(len(layers))] + ['final mask']
    images = []
    for b, sample in enumerate(data['data_samples']):
        inside = tuple(sample.metainfo.get('input_image_shape', sample.metainfo['img_shape'])[:2])
        images.append([_to_input(name, stage[b], padded, inside) for name, stage in zip(names, stages)])
    return images


def _to_input(name: str, shares: Tensor, padded: Tuple[int, int], image: Tuple[int, int]) -> AssignmentMap:
    confidence, centres = shares.max(dim=0)  # (h, w)
    rows, columns = (_nearest(*sizes) for sizes in zip(image, padded, centres.shape))
    stride = round((padded[0] - 1) / max(1, centres.shape[0] - 1)) if padded[0] % 2 else round(padded[0] / centres.shape[0])
    centres, confidence = (plane.cpu().numpy()[rows[:, None], columns] for plane in (centres, confidence))
    return AssignmentMap(f'{name}, stride {stride}', centres, confidence)


def _nearest(image: int, padded: int, plane: int) -> np.ndarray:
    """Cell of the plane nearest to each pixel of the image; an odd side means aligned corners."""
    pixels = np.arange(image)
    cells = np.rint(pixels * (plane - 1) / max(1, padded - 1)) if padded % 2 else np.floor((pixels + 0.5) * plane / padded)
    return cells.astype(np.int64).clip(0, plane - 1)


def centre_colours(final: AssignmentMap, segment_map: np.ndarray, colours: Mapping[int, Colour], *, num_centres: int) -> np.ndarray:
    """``(N, 3)`` uint8, one colour a centre for all layers of an image.

    A centre most of whose pixels end up in one predicted segment has that segment's colour (several centres of one segment: shades of it),
    so that one can follow a segment back through the layers. All other centres have pale colours.
    """
    table = distinct_colours(num_centres).astype(np.float64) * 0.45 + 0.55 * 238
    rows = np.arange(final.centres.shape[0]) * segment_map.shape[0] // final.centres.shape[0]
    columns = np.arange(final.centres.shape[1]) * segment_map.shape[1] // final.centres.shape[1]
    seen = segment_map[rows[:, None], columns]
    shades: Dict[int, int] = {}
    areas = np.bincount(final.centres.ravel(), minlength=num_centres)
    for centre in np.argsort(-areas, kind='stable'):
        if areas[centre] == 0:
            break
        own = np.bincount(seen[final.centres == centre])
        segment = int(own.argmax())
        if segment in colours and 2 * own[segment] > areas[centre]:
            shade = shades[segment] = shades.get(segment, -1) + 1
            table[centre] = np.asarray(colours[segment]) * (1., 0.78, 0.62, 0.9)[shade % 4]
    return table.round().astype(np.uint8)


def draw_assignment(assignment: AssignmentMap, table: np.ndarray) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB: each pixel in the colour of its centre, fading to white where the layer is undecided."""
    weight = 0.3 + 0.7 * np.sqrt(assignment.confidence.clip(0, 1))[..., None]
    return (table[assignment.centres] * weight + 255 * (1 - weight)).round().astype(np.uint8)


