"""A batch in a few tensors, so that each kind of data goes to the device in one copy.

A data-loading process stacks training batches (:func:`stacked_batch`) and the data loader pins
them. Lists, as mmengine's ``pseudo_collate`` makes them, are stacked by the data preprocessor.
"""

from collections.abc import Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from torch import Tensor

from cmt_deeplab.geometry import Size
from cmt_deeplab.structures import PADDING_INDEX


def stacked_batch(samples: Sequence[dict], *, size: Size | None) -> dict:
    """The collate function of training data: stacked, if these are images and planes of ours.

    All others stay lists, and the data preprocessor says what is wrong with them.

    Args:
        size: (H, W) of the batch; None takes that of the largest image.
    """
    data = pseudo_collate(samples)
    images, truths = data.get('inputs', ()), data.get('data_samples', ())
    known = all(map(is_image, images)) and all(map(has_plane, truths))
    if len(data) != 2 or not known or any('fit_to_input' in each for each in truths):
        return data
    size = size or largest_size(images)
    if any(side > most for image in images for side, most in zip(image.shape[-2:], size)):
        return data
    return {**stack_images(images, size), **stack_truth(truths, size)}


def is_image(image: object) -> bool:
    """Whether this is a tensor (3, H, W) of uint8."""
    return isinstance(image, Tensor) and image.dtype == torch.uint8 and image.shape[:-2] == (3,)


def has_plane(sample: DetDataSample) -> bool:
    return 'index_map' in sample.get('gt_panoptic_seg', ())


def largest_size(images: Sequence[Tensor]) -> Size:
    """The smallest (H, W) that holds each of the images."""
    return tuple(max(image.shape[axis] for image in images) for axis in (-2, -1))


def stack_images(images: Sequence[Tensor], size: Size) -> dict:
    """``inputs`` (B, C, H, W) with zeros around the images, whose ``sizes`` are (B, 2)."""
    dtype = torch.float32 if any(x.is_floating_point() for x in images) else torch.uint8
    shape, device = (len(images), *size, max(map(len, images))), images[0].device
    stack = torch.zeros(shape, dtype=dtype, device=device).movedim(-1, 1)
    for place, image in zip(stack, images):
        place[:, : image.shape[1], : image.shape[2]] = image
    inside = [tuple(image.shape[-2:]) for image in images]
    return dict(inputs=stack, inside=inside, sizes=torch.tensor(inside))


def stack_truth(samples: Sequence[DetDataSample], size: Size) -> dict:
    """``planes`` (B, H, W), ``segments`` of all images one after the other, and bare samples.

    ``segments`` has a tensor for each field that allows it, ``counts`` the number of segments of
    each image.
    """
    shape, device = (len(samples), *size), samples[0].gt_panoptic_seg.index_map.device
    planes = torch.full(shape, PADDING_INDEX, dtype=torch.int16, device=device)
    for place, sample in zip(planes, samples):
        index = sample.gt_panoptic_seg.index_map[0]
        place[: index.shape[0], : index.shape[1]] = index
    rows = [dict(sample.gt_segments.items()) for sample in samples]
    fields = [key for key in rows[0] if all(_alike(row.get(key), rows[0][key]) for row in rows)]
    return dict(
        planes=planes,
        segments={key: torch.cat([row[key] for row in rows]) for key in fields},
        counts=[len(row['labels']) for row in rows],
        data_samples=[
            changed(
                sample,
                gt_panoptic_seg=without(sample.gt_panoptic_seg, ['index_map']),
                gt_segments=without(sample.gt_segments, fields),
            )
            for sample in samples
        ],
    )


def _alike(*values: object) -> bool:
    """Whether these are tensors that differ in their values and their length alone."""
    if not all(isinstance(x, Tensor) for x in values):
        return False
    return len({(x.dtype, x.shape[1:]) for x in values}) == 1


def with_truth(data: dict) -> list[DetDataSample]:
    """The samples of a stacked batch, with views of its planes and segments."""
    parts = {key: values.split(data['counts']) for key, values in data['segments'].items()}
    return [
        changed(
            sample,
            gt_panoptic_seg=changed(sample.gt_panoptic_seg, index_map=plane[None]),
            gt_segments=changed(sample.gt_segments, **{key: parts[key][i] for key in parts}),
        )
        for i, (sample, plane) in enumerate(zip(data['data_samples'], data['planes']))
    ]


def changed(element: BaseDataElement, **data: object) -> BaseDataElement:
    """A copy of a data element with these fields besides."""
    return element.new(**{**dict(element.items()), **data})


def without(element: BaseDataElement, fields: Sequence[str]) -> BaseDataElement:
    """A copy of a data element without these fields."""
    rest = {key: value for key, value in element.items() if key not in fields}
    return type(element)(metainfo=dict(element.metainfo_items()), **rest)
