"""The data pipeline beside mmdet's: load, flip, resize to 0.8 to 1.2 of the crop, crop and pack.

Run i is of image i of the data set, after one run of each to warm up. The first row reads the image
alone, which both pipelines do. The size is that of the pickled sample, which a data-loading process
hands to the trainer.
"""

import argparse
import json
import os.path as osp
import pickle

import cv2
import numpy as np
from harness import Form, Subject
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import init_default_scope


def build_dataset(args: argparse.Namespace, pipeline: list[dict]) -> BaseDataset:
    """The first images of the data set that the arguments name, with the classes in its order.

    mmdet's metric numbers them so.
    """
    init_default_scope('mmdet')
    with open(osp.join(args.data_root, args.ann_file)) as stream:
        categories = json.load(stream)['categories']
    classes = {
        kind: [c['name'] for c in categories if c['isthing'] == is_thing]
        for kind, is_thing in (('thing_classes', 1), ('stuff_classes', 0))
    }
    return DATASETS.build(
        dict(
            type='PanopticIndexDataset',
            data_root=args.data_root,
            ann_file=args.ann_file,
            metainfo=classes,
            indices=args.images,
            pipeline=pipeline,
            data_prefix=dict(img=args.img_prefix, seg=args.seg_prefix),
        )
    )


def pipelines(size: int) -> dict[str, list[dict]]:
    crop, scales = (size, size), (0.8, 1.2)
    image = dict(type='LoadImageFromFile')
    return {
        'image alone': [image],
        'index plane': [
            image,
            dict(type='LoadPanopticIndexMap'),
            dict(type='PanopticRandomFlip', prob=0.5),
            dict(type='PanopticLargeScaleJitter', crop_size=crop, scale_range=scales),
            dict(type='PackPanopticInputs'),
        ],
        'mmdet': [
            image,
            dict(type='LoadPanopticAnnotations'),
            dict(type='RandomFlip', prob=0.5),
            dict(type='RandomResize', scale=crop, ratio_range=scales, keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop, allow_negative_crop=True),
            dict(type='PackDetInputs'),
        ],
    }


def subject(args: argparse.Namespace) -> Subject:
    cv2.setNumThreads(1)
    dataset = build_dataset(args, [])

    def form_of(pipeline: list[dict]) -> Form:
        transforms = Compose([TRANSFORMS.build(transform) for transform in pipeline])

        def form(run: int):
            np.random.seed(run % 2**32)
            item = dataset.get_data_info(run % len(dataset))
            return lambda: transforms(item)

        return form

    forms = {name: form_of(pipeline) for name, pipeline in pipelines(args.size).items()}
    samples = {name: forms[name](0)() for name in ('index plane', 'mmdet')}
    sizes = {name: dict(megabytes=len(pickle.dumps(s)) / 1e6) for name, s in samples.items()}
    return Subject(forms, warm_up=len(dataset), figures=sizes)
