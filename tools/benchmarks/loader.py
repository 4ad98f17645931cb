"""The data pipeline beside mmdet's: load, flip, resize to 0.8 to 1.2 of the crop, crop and pack.

Run i is of image i of the data set, after one run of each to warm up. The ground-truth part is the
time beyond that of the same pipeline without annotations. The megabytes are those of the pickled
sample, which a data-loading process hands to the trainer.
"""

import argparse
import json
import os.path as osp
import pickle
from collections.abc import Iterator

import cv2
import numpy as np
from harness import Form, Subject
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import init_default_scope

OURS, MMDET = 'index plane', 'mmdet'


def build_dataset(args: argparse.Namespace, pipeline: list[dict]) -> BaseDataset:
    """The first images of the data set that the arguments name, with the classes in its order.

    mmdet's metric numbers them so.
    """
    init_default_scope('mmdet')
    ann_file = f'annotations/panoptic_{args.split}.json'
    with open(osp.join(args.data_root, ann_file)) as stream:
        categories = json.load(stream)['categories']
    classes = {
        kind: [c['name'] for c in categories if c['isthing'] == is_thing]
        for kind, is_thing in (('thing_classes', 1), ('stuff_classes', 0))
    }
    return DATASETS.build(
        dict(
            type='PanopticIndexDataset',
            data_root=args.data_root,
            ann_file=ann_file,
            metainfo=classes,
            indices=args.images,
            pipeline=pipeline,
            data_prefix=dict(img=f'{args.split}/', seg=f'annotations/panoptic_{args.split}/'),
        )
    )


def pipelines(size: int) -> dict[str, list[dict]]:
    """Ours and mmdet's, each also without annotations."""
    crop, scales = (size, size), (0.8, 1.2)
    whole = {
        OURS: [
            dict(type='LoadImageFromFile'),
            dict(type='LoadPanopticIndexMap'),
            dict(type='PanopticRandomFlip', prob=0.5),
            dict(type='PanopticLargeScaleJitter', crop_size=crop, scale_range=scales),
            dict(type='PackPanopticInputs'),
        ],
        MMDET: [
            dict(type='LoadImageFromFile'),
            dict(type='StockPanopticAnnotations'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='RandomResize', scale=crop, ratio_range=scales, keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop, allow_negative_crop=True),
            dict(type='PackDetInputs'),
        ],
    }
    return whole | {f'{name}, image alone': [p[0], *p[2:]] for name, p in whole.items()}


def subjects(args: argparse.Namespace, *, size: int = 640) -> Iterator[Subject]:
    cv2.setNumThreads(1)
    dataset = build_dataset(args, [])

    def form_of(pipeline: list[dict]) -> Form:
        transforms = Compose([TRANSFORMS.build(transform) for transform in pipeline])

        def form(run: int):
            np.random.seed(run % 2**32)
            item = dataset.get_data_info(run % len(dataset))
            return lambda: transforms(item)

        return form

    forms = {name: form_of(pipeline) for name, pipeline in pipelines(size).items()}
    figures = {
        name: dict(megabytes=len(pickle.dumps(forms[name](0)())) / 1e6) for name in (OURS, MMDET)
    }
    rest = dict(runs=len(dataset), warm_up=len(dataset))
    whole = {name: forms[name] for name in (OURS, MMDET)}
    yield Subject(whole, title=f'loader, crop {size}', figures=figures, **rest)
    parts = {f'{name}, ground-truth part': forms[name] for name in whole}
    alone = {f'{name}, image alone': forms[f'{name}, image alone'] for name in whole}
    yield Subject(
        alone | parts,
        title=f'loader, crop {size}',
        beyond=dict(zip(parts, alone)),
        peers=[*parts][1:],
        **rest,
    )
