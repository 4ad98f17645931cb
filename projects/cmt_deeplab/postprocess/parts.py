"""The connected parts of predicted things as things of their own."""

import cv2
import numpy as np
import torch
from scipy.ndimage import find_objects
from torch import Tensor

from cmt_deeplab.coco_format import map_value

SMALLEST_PART = 0.2  # of the largest part of a thing; smaller ones are slips


def connected_parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The parts of ``mask`` (H, W) bool whose pixels are connected through their sides.

    Returns:
        The number of the part of each pixel (H, W), 0 outside of the mask, and the areas of parts
        1, 2, ..., which are 0 for those below ``SMALLEST_PART`` of the largest one.
    """
    _, parts, table, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    areas = table[1:, cv2.CC_STAT_AREA]
    return parts, np.where(areas >= SMALLEST_PART * areas.max(initial=0), areas, 0)


def separate_parts(
    segment_map: Tensor, segments_info: list[dict], *, void: int, least_area: float
) -> tuple[Tensor, list[dict]]:
    """Map and segments in which each of the :func:`connected_parts` of a thing is a thing.

    The parts of a thing have its class and score, and the largest one comes first. Slips and parts
    smaller than ``least_area`` pixels become void.
    """
    values = segment_map.cpu().numpy()
    window_of = find_objects(values + 1)  # by the value, in one pass over the map
    found, infos, instance = values.copy(), [], 0
    for info in segments_info:
        if not info['isthing']:
            infos.append(info)
            continue
        window = window_of[info['id']]
        parts, areas = connected_parts(values[window] == info['id'])
        value_of = np.full(len(areas) + 1, void, values.dtype)
        for part in np.argsort(-areas, kind='stable'):
            if areas[part] and areas[part] >= least_area:
                instance += 1
                value_of[part + 1] = map_value(info['category_id'], instance)
                own = dict(id=int(value_of[part + 1]), area=int(areas[part]))
                infos.append({**info, **own})
        found[window] = np.where(parts > 0, value_of[parts], found[window])
    return torch.from_numpy(found).to(segment_map.device), infos
