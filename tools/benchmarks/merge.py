"""The merges beside mmdet's MaskFormerFusionHead on equal predictions.

The scene: discs of confident classes over smooth noise, the other centers void. mmdet's head is
timed alone, given masks that are already at the padded input size, and with the resize to that
size, which its models do just before; the ratios are to the latter.
"""

import argparse
from functools import partial

import torch
from harness import Subject
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from torch import Tensor
from torch.nn import functional as F

NUM_CLASSES = dict(num_things_classes=80, num_stuff_classes=53)  # COCO's


def make_scene(args: argparse.Namespace, grid: int) -> tuple[Tensor, Tensor]:
    """Mask logits (N, grid, grid) and class logits (N, C+1)."""
    generator = torch.Generator().manual_seed(0)
    number, num_classes = args.segments, sum(NUM_CLASSES.values())
    coarse = torch.randn(1, args.centers, *[grid // 8 + 2] * 2, generator=generator)
    masks = F.interpolate(coarse, size=(grid, grid), mode='bicubic')[0]
    y, x, radius = grid * torch.rand(3, number - 1, 1, 1, generator=generator)
    axis = torch.arange(grid)
    distance = ((axis[:, None] - y) ** 2 + (axis - x) ** 2).sqrt()
    masks[: number - 1] += 12 * torch.sigmoid((0.05 * grid + 0.2 * radius - distance) / 2)
    masks[number - 1] += 6  # the ground
    classes = torch.randn(args.centers, num_classes + 1, generator=generator)
    classes[:, -1] += 8
    labels = torch.randint(num_classes, (number,), generator=generator)
    classes[torch.arange(number), labels] += 16
    return masks, classes


def subject(args: argparse.Namespace) -> Subject:
    aligned = args.size % 2 == 1
    grid = (args.size - aligned) // 4 + aligned
    masks, classes = make_scene(args, grid)
    side, output = (args.size, args.size), (args.output, args.output)
    sizes = dict(input_size=side, image_size=side, output_size=output, align_corners=aligned)
    test_cfg = dict(panoptic_on=True, instance_on=False, object_mask_thr=0.8)
    head = MODELS.build(dict(type='MaskFormerFusionHead', **NUM_CLASSES, test_cfg=test_cfg))
    sample = DetDataSample(metainfo=dict(img_shape=side, ori_shape=output))

    def upsample() -> Tensor:
        return F.interpolate(masks[None], size=side, mode='bilinear', align_corners=False)

    def fuse(planes: Tensor) -> None:
        head.predict(classes[None], planes, [sample], rescale=output != side)

    upsampled = upsample()
    forms = {
        name: partial(MODELS.build(dict(type=name, **NUM_CLASSES)), masks, classes, **sizes)
        for name in ('PanopticMaskWiseMerge', 'PanopticPixelWiseMerge')
    }
    forms['MaskFormerFusionHead'] = lambda: fuse(upsampled)
    forms['resize + MaskFormerFusionHead'] = lambda: fuse(upsample())
    return Subject({name: lambda run, form=form: form for name, form in forms.items()})
