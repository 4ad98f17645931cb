"""PanopticQualityMetric beside mmdet's CocoPanopticMetric on equal predictions, one image per run.

The predictions are the truth itself, shifted by some pixels. ``index plane`` finds the truth in the
sample, as our test pipeline delivers it; ``from PNG`` reads it from ann_file and seg_prefix, as
mmdet does. Compared are the PQs.
"""

import argparse
import copy

import torch
from cmt_deeplab.coco_format import map_value
from data import build_dataset
from harness import Form, Subject
from mmdet.registry import METRICS


def subject(args: argparse.Namespace) -> Subject:
    load = [dict(type=kind) for kind in ('LoadImageFromFile', 'LoadPanopticIndexMap')]
    dataset = build_dataset(args, [*load, dict(type='PackPanopticInputs')])
    meta = dataset.metainfo
    samples = []
    for item in dataset:
        sample = item['data_samples'].to_dict()
        labels = sample['gt_segments']['labels']
        instances = torch.arange(1, len(labels) + 1) * (labels < len(meta['thing_classes']))
        values = torch.cat([map_value(labels, instances), torch.tensor([len(meta['classes'])])])
        index = sample['gt_panoptic_seg']['index_map'].long().clamp(min=-1)  # -1: no segment
        sample['pred_panoptic_seg'] = dict(sem_seg=values[index.roll(args.shift, -1)])
        samples.append(sample)
    files = dict(ann_file=dataset.ann_file, seg_prefix=dataset.data_prefix['seg'])
    metrics = {
        'PanopticQualityMetric, index plane': dict(type='PanopticQualityMetric'),
        'PanopticQualityMetric, from PNG': dict(type='PanopticQualityMetric', **files),
        'mmdet CocoPanopticMetric': dict(type='CocoPanopticMetric', **files),
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
    args.runs = len(samples)  # each image once, for the PQ of all
    return Subject(forms, warm_up=0, values=values)
