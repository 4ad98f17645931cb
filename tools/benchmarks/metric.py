"""PanopticQualityMetric beside mmdet's CocoPanopticMetric on equal predictions, one image per run.

The predictions are the truth itself, shifted by some pixels. ``index plane`` finds the truth in the
sample, as our test pipeline delivers it; ``PNG`` reads it from ann_file and seg_prefix, as mmdet
does. Compared are the PQs.
"""

import argparse
import copy
from collections.abc import Iterator

import torch
from cmt_deeplab.coco_format import map_value
from harness import Form, Subject
from loader import build_dataset
from mmdet.registry import METRICS

SHIFT = 8  # pixels


def subjects(args: argparse.Namespace) -> Iterator[Subject]:
    load = [dict(type=kind) for kind in ('LoadImageFromFile', 'LoadPanopticIndexMap')]
    dataset = build_dataset(args, [*load, dict(type='PackPanopticInputs')])
    meta = dataset.metainfo
    samples = []
    for item in dataset:
        sample = item['data_samples'].to_dict()
        labels = sample['gt_segments']['labels']
        instances = torch.arange(1, len(labels) + 1) * (labels < len(meta['thing_classes']))
        values = torch.cat(
            [map_value(labels, instances), torch.tensor([len(meta['classes'])])]
        ).int()
        index = sample['gt_panoptic_seg']['index_map'].long().clamp(min=-1)  # -1: no segment
        sample['pred_panoptic_seg'] = dict(sem_seg=values[index.roll(SHIFT, -1)].int())
        samples.append(sample)
    files = dict(ann_file=dataset.ann_file, seg_prefix=dataset.data_prefix['seg'])
    metrics = {
        'truth as index plane': dict(type='PanopticQualityMetric'),
        'truth as PNG': dict(type='PanopticQualityMetric', **files),
        "mmdet's CocoPanopticMetric": dict(type='CocoPanopticMetric', **files),
    }
    metrics = {name: METRICS.build(config) for name, config in metrics.items()}

    def form_of(name: str) -> Form:
        metrics[name].dataset_meta = meta

        def form(run: int):
            sample = copy.deepcopy(samples[run])  # mmdet writes into it
            if 'index plane' not in name:
                del sample['gt_panoptic_seg'], sample['gt_segments']
            return lambda: metrics[name].process({}, [sample])

        return form

    def values() -> dict[str, list[float]]:
        figures = {name: metric.evaluate(len(samples)) for name, metric in metrics.items()}
        return {name: [found['coco_panoptic/PQ']] for name, found in figures.items()}

    forms = {name: form_of(name) for name in metrics}
    # Each image once, for the PQ of all.
    yield Subject(forms, title='metric', runs=len(samples), warm_up=0, values=values)
