"""Time the data pipeline, ours beside mmdet's: load, flip, resize to 0.8-1.2 of the crop, crop, pack, one thread, milliseconds an image.

    python tools/analysis_tools/benchmark_data.py --data-root data/coco [--size 640] [--images 100] [--rounds 5] [--json OUT]

Both pipelines alternate image by image, so that what else the machine does hits both alike.
"""

import argparse
import json
import pickle
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'projects'))

NAMES = ('index plane', 'mmdet')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--data-root', default='data/coco')
    parser.add_argument('--ann-file', default='annotations/panoptic_train2017.json')
    parser.add_argument('--img-prefix', default='train2017/')
    parser.add_argument('--seg-prefix', default='annotations/panoptic_train2017/')
    parser.add_argument('--size', type=int, default=640, help='side of the crop')
    parser.add_argument('--images', type=int, default=100)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--json', help='file for the figures')
    return parser.parse_args()


def pipelines(size: int) -> dict[str, list[dict]]:
    load, low, high = dict(type='LoadImageFromFile'), 0.8, 1.2
    ours = [
        load,
        dict(type='LoadPanopticIndexMap'),
        dict(type='PanopticRandomFlip', prob=0.5),
        dict(type='PanopticLargeScaleJitter', crop_size=(size, size), scale_range=(low, high)),
        dict(type='PackPanopticInputs'),
    ]
    theirs = [
        load,
        dict(type='LoadPanopticAnnotations'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='RandomResize', scale=(size, size), ratio_range=(low, high), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(size, size), allow_negative_crop=True),
        dict(type='PackDetInputs'),
    ]
    return dict(zip(NAMES, (ours, theirs)))


def run_pipeline(transforms: Sequence, results: dict, spent: dict[str, float]) -> dict:
    """Apply the transforms one after another, adding the milliseconds of each to ``spent``."""
    for transform in transforms:
        start = time.perf_counter()
        results = transform(results)
        spent[type(transform).__name__] = 1e3 * (time.perf_counter() - start)
    return results


def measure(args: argparse.Namespace) -> dict:
    """Medians over images and rounds: total, each transform, what pickling a sample for another process costs, its bytes."""
    import cmt_deeplab  # noqa: F401
    import cv2
    import torch
    from mmdet.registry import DATASETS, TRANSFORMS
    from mmengine.registry import init_default_scope

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    init_default_scope('mmdet')
    dataset = DATASETS.build(
        dict(
            type='PanopticIndexDataset',
            data_root=args.data_root,
            ann_file=args.ann_file,
            indices=args.images,
            pipeline=[],
            data_prefix=dict(img=args.img_prefix, seg=args.seg_prefix),
        )
    )
    built = {
        name: [TRANSFORMS.build(t) for t in pipeline]
        for name, pipeline in pipelines(args.size).items()
    }
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in NAMES}
    for round_ in range(args.rounds + 1):
        for i in range(len(dataset)):
            for name in NAMES:
                spent: dict[str, float] = {}
                np.random.seed(1000 * round_ + i)
                packed = run_pipeline(built[name], dataset.get_data_info(i), spent)
                spent = {'total': sum(spent.values()), **spent}
                start = time.perf_counter()
                data = pickle.dumps(packed)
                spent['pickle'], spent['KiB pickled'] = (
                    1e3 * (time.perf_counter() - start),
                    len(data) / 1024,
                )
                if round_:  # the first round warms up
                    rows[name].append(spent)
    return {
        name: {key: float(np.median([row[key] for row in found])) for key in found[0]}
        for name, found in rows.items()
    }


def main() -> None:
    args = parse_args()
    try:
        medians = measure(args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    ours, theirs = (medians[name] for name in NAMES)
    for name in NAMES:
        print(name)
        for key, value in medians[name].items():
            print(f'    {key:28s}{value:9.2f}')
    decode = min(ours['LoadImageFromFile'], theirs['LoadImageFromFile'])
    beyond = (theirs['total'] - decode) / (ours['total'] - decode)
    print(
        f'total {theirs["total"] / ours["total"]:.2f} times as fast; beyond reading the image ({decode:.2f} ms) {beyond:.2f} times'
    )
    if args.json:
        Path(args.json).write_text(
            json.dumps(
                dict(
                    medians=medians,
                    ratio_total=theirs['total'] / ours['total'],
                    ratio_beyond_image=beyond,
                    images=args.images,
                    rounds=args.rounds,
                    size=args.size,
                ),
                indent=2,
            )
            + '\n'
        )


if __name__ == '__main__':
    main()
