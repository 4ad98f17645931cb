"""What a data sample, as a dict, has of an image: its id, its truth and its prediction."""

import numpy as np
import torch

from cmt_deeplab.errors import UserError
from cmt_deeplab.panoptic_fields import IMAGE_ID


def has_truth(sample: dict) -> bool:
    return (sample.get('gt_panoptic_seg') or {}).get('index_map') is not None


def id_of(sample: dict) -> int | str:
    """The ``img_id``, without the type of numpy or torch that a data set may have given it."""
    img_id = sample.get('img_id')
    img_id = img_id.item() if hasattr(img_id, 'item') else img_id
    if not IMAGE_ID.fits(img_id):
        raise UserError(
            f"A data sample has the 'img_id' {img_id!r}, but it has to be {IMAGE_ID.form}: list it "
            'in meta_keys of the packing transform, and correct it in the data set.'
        )
    return img_id


def predicted_plane(sample: dict) -> np.ndarray:
    """The predicted values of ``map_value`` (H, W)."""
    img_id, prediction = sample['img_id'], sample.get('pred_panoptic_seg')
    if prediction is None:
        raise UserError(
            f"The model gave no 'pred_panoptic_seg' for image {img_id}: PQ needs a panoptic model "
            'with panoptic output switched on.'
        )
    plane = prediction['sem_seg']
    if not torch.is_tensor(plane) or plane.is_floating_point() or plane.shape[:-2] != (1,):
        form = f'{plane.dtype} {tuple(plane.shape)}' if torch.is_tensor(plane) else type(plane)
        raise UserError(
            f'pred_panoptic_seg.sem_seg of image {img_id} is {form}, but PQ needs whole numbers '
            '(1, H, W), label + 1000 x instance.'
        )
    return plane.cpu().numpy()[0]
