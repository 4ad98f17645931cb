"""Time of the merges beside mmdet's MaskFormerFusionHead on equal inputs: medians, and the median of the ratios of neighboring runs.

    python tools/analysis_tools/benchmark_merge.py [--size 641] [--slots 100] [--threads 1]

The scene: ``--segments`` discs with confident classes over smooth noise, the other slots void. mmdet's head is timed alone, given masks
that are already at the padded input size, and with the resize to that size, which its models do just before.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / 'projects')
)  # a clone that is not installed

import cmt_deeplab  # noqa: E402,F401  isort: skip  # first: without compiled operators mmdet can only be imported after it
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402


def make_scene(
    num_slots: int, grid: int, num_segments: int, num_classes: int, contrast: float, noise: float
) -> tuple:
    """Mask logits (N, grid, grid) and class logits (N, C+1)."""
    generator = torch.Generator().manual_seed(0)
    coarse = noise * torch.randn(1, num_slots, grid // 8 + 2, grid // 8 + 2, generator=generator)
    masks = F.interpolate(coarse, size=(grid, grid), mode='bicubic')[0]
    axis = torch.arange(grid)
    for slot in range(num_segments - 1):
        y, x, radius = (
            grid
            * (
                torch.rand(3, generator=generator) * torch.tensor([1.0, 1.0, 0.2])
                + torch.tensor([0, 0, 0.05])
            )
        ).tolist()
        distance = ((axis[:, None] - y) ** 2 + (axis[None] - x) ** 2).sqrt()
        masks[slot] += contrast * torch.sigmoid((radius - distance) / 2)
    masks[num_segments - 1] += contrast / 2  # the ground
    classes = torch.randn(num_slots, num_classes + 1, generator=generator)
    classes[:, -1] += 8
    classes[
        torch.arange(num_segments), torch.randint(num_classes, (num_segments,), generator=generator)
    ] += 16
    return masks, classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--size', type=int, default=641, help='side of the padded input; odd: corners aligned'
    )
    parser.add_argument('--output', type=int, default=640, help='side of the original image')
    parser.add_argument('--slots', type=int, default=100)
    parser.add_argument('--segments', type=int, default=20)
    parser.add_argument(
        '--contrast', type=float, default=12.0, help='logit of a segment above the rest'
    )
    parser.add_argument(
        '--noise', type=float, default=1.0, help='standard deviation of the logits elsewhere'
    )
    parser.add_argument('--runs', type=int, default=15)
    parser.add_argument('--threads', type=int, default=0, help='0: as torch chooses')
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    aligned = args.size % 2 == 1
    grid = (args.size - 1) // 4 + 1 if aligned else args.size // 4
    masks, classes = make_scene(args.slots, grid, args.segments, 133, args.contrast, args.noise)
    counts = dict(num_things_classes=80, num_stuff_classes=53)
    side, output = (args.size, args.size), (args.output, args.output)
    sizes = dict(input_size=side, image_size=side, output_size=output, align_corners=aligned)
    test_cfg = dict(panoptic_on=True, instance_on=False, object_mask_thr=0.8)
    head = MODELS.build(dict(type='MaskFormerFusionHead', **counts, test_cfg=test_cfg))
    sample = DetDataSample(metainfo=dict(img_shape=side, ori_shape=output))

    def upsample() -> torch.Tensor:
        return F.interpolate(masks[None], size=side, mode='bilinear', align_corners=False)

    upsampled = upsample()
    rescale = output != side
    work = {
        'mmdet MaskFormerFusionHead': lambda: head.predict(
            classes[None], upsampled, [sample], rescale=rescale
        ),
        'mmdet resize + MaskFormerFusionHead': lambda: head.predict(
            classes[None], upsample(), [sample], rescale=rescale
        ),
    }
    for name, settings in {
        'PanopticMaskWiseMerge': {},
        'PanopticMaskWiseMerge softmax_first': dict(softmax_first=True),
        'PanopticPixelWiseMerge': {},
    }.items():
        merge = MODELS.build(dict(type=name.split()[0], **counts, **settings))
        work[name] = lambda merge=merge: merge(masks, classes, **sizes)
    times = {name: [] for name in work}
    for run in range(args.runs + 1):  # side by side: a busy machine slows all of them
        for name, call in work.items():
            start = time.perf_counter()
            call()
            if run:
                times[name].append(1e3 * (time.perf_counter() - start))
    print(
        f'{args.slots} slots, {args.segments} segments, grid {grid}, input {args.size}, output {args.output}, '
        f'{torch.get_num_threads()} threads'
    )
    print(f'{"":38s} {"median ms":>10s} {"head / this":>12s} {"(resize + head) / this":>24s}')
    for name, values in times.items():
        ratios = [
            statistics.median(a / b for a, b in zip(times[other], values))
            for other in list(work)[:2]
        ]
        print(f'{name:38s} {statistics.median(values):10.1f} {ratios[0]:12.2f} {ratios[1]:24.2f}')


if __name__ == '__main__':
    main()
