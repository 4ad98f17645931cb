"""The mask-wise merge beside mmdet's MaskFormerFusionHead on equal predictions.

The scene: discs of confident classes over smooth noise, the other centers void. mmdet's head is
timed with the resize of the masks to the padded input, which its models do just before.
"""

import argparse
from collections.abc import Iterator
from functools import partial

import torch
from harness import Subject
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor
from torch.nn import functional as F

NUM_CLASSES = dict(num_things_classes=80, num_stuff_classes=53)  # COCO's


def make_scene(grid: tuple[int, int], centers: int, segments: int) -> tuple[Tensor, Tensor]:
    """Mask logits (N, h, w) and class logits (N, C+1)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, centers, *(side // 8 + 2 for side in grid), generator=generator)
    masks = F.interpolate(coarse, size=grid, mode='bicubic')[0]
    y, x, radius = torch.rand(3, segments - 1, 1, 1, generator=generator)
    rows, columns = map(torch.arange, grid)
    distance = ((rows[:, None] - grid[0] * y) ** 2 + (columns - grid[1] * x) ** 2).sqrt()
    size = grid[0] * (0.05 + 0.2 * radius)
    masks[: segments - 1] += 12 * torch.sigmoid((size - distance) / 2)
    masks[segments - 1] += 6  # the ground
    return masks, confident_classes(centers, segments, sum(NUM_CLASSES.values()))


def confident_classes(centers: int, segments: int, num_classes: int) -> Tensor:
    """Class logits (N, C+1) of which the first ``segments`` are certain and the others void."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.randn(centers, num_classes + 1, generator=generator)
    classes[:, -1] += 8
    labels = torch.randint(num_classes, (segments,), generator=generator)
    classes[torch.arange(segments), labels] += 16
    return classes


def subjects(
    args: argparse.Namespace,
    *,
    size: tuple[int, int] = (800, 1333),
    centers: int = 128,
    segments: int = 20,
) -> Iterator[Subject]:
    padded = tuple(-(-side // 32) * 32 for side in size)
    masks, classes = make_scene(tuple(side // 4 for side in padded), centers, segments)
    sizes = dict(input_size=padded, image_size=size, output_size=size, align_corners=False)
    merge = MODELS.build(dict(type='PanopticMaskWiseMerge', **NUM_CLASSES))
    test_cfg = dict(panoptic_on=True, instance_on=False, object_mask_thr=0.8)
    head = MODELS.build(dict(type='MaskFormerFusionHead', **NUM_CLASSES, test_cfg=test_cfg))
    sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size))

    def fuse() -> None:
        planes = F.interpolate(masks[None], size=padded, mode='bilinear', align_corners=False)
        head.predict(classes[None], planes, [sample], rescale=False)

    forms = {
        'PanopticMaskWiseMerge': partial(merge, masks, classes, **sizes),
        "mmdet's MaskFormerFusionHead": fuse,
    }
    yield Subject(
        {name: lambda run, form=form: form for name, form in forms.items()},
        title=f'merge, {centers} centers, {size[0]}x{size[1]}',
        with_memory=True,
    )
