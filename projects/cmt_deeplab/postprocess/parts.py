"""The connected parts of predicted things as things of their own."""

import cv2
import numpy as np
import torch
from torch import Tensor

from cmt_deeplab.coco_format import map_value


def separate_parts(
    segment_map: Tensor, segments_info: list[dict], *, void: int, least_area: float
) -> tuple[Tensor, list[dict]]:
    """Map and segments in which each connected part of a thing is a thing.

    Pixels are connected through their sides. The parts of a thing have its class and score, the
    largest one comes first, and those smaller than ``least_area`` pixels become void.
    """
    values = segment_map.cpu().numpy()
    found, infos, instance = values.copy(), [], 0
    for info in segments_info:
        if not info['isthing']:
            infos.append(info)
            continue
        mask = (values == info['id']).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        window = slice(top, top + height), slice(left, left + width)
        _, parts, sizes, _ = cv2.connectedComponentsWithStats(mask[window], connectivity=4)
        areas = sizes[1:, cv2.CC_STAT_AREA]
        value_of = np.full(len(sizes), void, values.dtype)
        for part in np.argsort(-areas, kind='stable'):
            if areas[part] >= least_area:
                instance += 1
                value_of[part + 1] = map_value(info['category_id'], instance)
                part_info = dict(id=int(value_of[part + 1]), area=int(areas[part]))
                infos.append({**info, **part_info})
        inside = parts > 0
        found[window][inside] = value_of[parts[inside]]
    return torch.from_numpy(found).to(segment_map.device), infos
