"""The data pipeline beside mmdet's: load, flip, resize to 0.8 to 1.2 of the crop, crop and pack.

Run i is of image i of the data set, after one run of each to warm up. The ground-truth part is the
time beyond that of the same pipeline without annotations. The megabytes are those of the pickled
sample, which a data-loading process hands to the trainer. The file of planes for the second row is
written beforehand, into a temporary folder.
"""

import argparse
import json
import os.path as osp
import pickle
import tempfile
from collections.abc import Iterator

import cv2
import numpy as np
from cmt_deeplab.datasets.plane_cache import find_planes, write_planes
from harness import Form, Subject
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import init_default_scope

OURS, CACHED, MMDET = 'index plane', 'with plane_cache', 'mmdet'


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
    items = [dataset.get_data_info(index) for index in range(len(dataset))]
    with tempfile.TemporaryDirectory() as folder:
        cached = with_planes(items, osp.join(folder, 'benchmark.planes'))

        def form_of(pipeline: list[dict], items: list[dict] = items) -> Form:
            transforms = Compose([TRANSFORMS.build(transform) for transform in pipeline])

            def form(run: int):
                np.random.seed(run % 2**32)
                item = dict(items[run % len(items)])
                return lambda: transforms(item)

            return form

        kinds = pipelines(size)
        forms = {name: form_of(pipeline) for name, pipeline in kinds.items()}
        whole = {OURS: forms[OURS], CACHED: form_of(kinds[OURS], cached), MMDET: forms[MMDET]}
        megabytes = {name: len(pickle.dumps(form(0)())) / 1e6 for name, form in whole.items()}
        figures = {name: dict(megabytes=value) for name, value in megabytes.items()}
        rest = dict(runs=len(items), warm_up=len(items), title=f'loader, crop {size}')
        yield Subject(whole, figures=figures, **rest)
        parts = {f'{name}, ground-truth part': form for name, form in whole.items()}
        ours, mmdets = alone = [f'{name}, image alone' for name in (OURS, MMDET)]
        yield Subject(
            {name: forms[name] for name in alone} | parts,
            beyond=dict(zip(parts, (ours, ours, mmdets))),
            peers=[*parts][-1:],
            **rest,
        )


def with_planes(items: list[dict], place: str) -> list[dict]:
    """The items with what a data set with ``plane_cache`` adds, of a file that is written here."""
    items, names = [dict(item) for item in items], {}
    for item in items:
        folder, name = osp.split(item['seg_map_path'])
        names[item['img_id']] = dict(file_name=name)
    write_planes(place, [each['file_name'] for each in names.values()], folder, processes=1)
    find_planes(place, items, names)
    return items
