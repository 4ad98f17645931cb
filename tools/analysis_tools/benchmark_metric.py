"""Time of PanopticQualityMetric beside mmdet's CocoPanopticMetric on equal predictions, an image: medians, and the median ratio.

    python tools/analysis_tools/benchmark_metric.py GT_JSON GT_DIR PRED_JSON PRED_DIR

All PNGs are read beforehand. ``index plane`` finds the ground truth in the sample, as our test pipeline delivers it; ``from PNG`` reads it
from ann_file and seg_prefix in ``process``, as mmdet does. Also checks that all give the same PQ.
"""

import argparse
import os.path as osp
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / 'projects')
)  # a clone that is not installed

import cmt_deeplab  # noqa: E402,F401  isort: skip  # first: without compiled operators mmdet can only be imported after it
from cmt_deeplab.evaluation.coco_panoptic import read_id_plane, read_panoptic_json  # noqa: E402
from mmdet.registry import METRICS  # noqa: E402


def read_plane(annotation: dict, folder: str, value_of) -> np.ndarray:
    """The PNG of one annotation with ``value_of(position, segment)`` in place of each id, -1 where there is none: (H, W) int32."""
    ids = read_id_plane(osp.join(folder, annotation['file_name']))
    plane = np.full(ids.shape, -1, dtype=np.int32)
    for position, segment in enumerate(annotation['segments_info']):
        plane[ids == segment['id']] = value_of(position, segment)
    return plane


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ('gt_json', 'gt_dir', 'pred_json', 'pred_dir'):
        parser.add_argument(name, metavar=name.upper())
    args = parser.parse_args()
    truth = read_panoptic_json(args.gt_json)
    predictions = {
        entry['image_id']: entry
        for entry in read_panoptic_json(args.pred_json, needs=('annotations',))['annotations']
    }
    label_of = {entry['id']: label for label, entry in enumerate(truth['categories'])}
    things = [entry['name'] for entry in truth['categories'] if entry['isthing']]
    meta = dict(classes=[entry['name'] for entry in truth['categories']], thing_classes=things)

    def value(position: int, segment: dict) -> int:
        label = label_of[segment['category_id']]
        return label + 1000 * (position + 1) if meta['classes'][label] in things else label

    samples = []
    for entry in truth['annotations']:
        plane = read_plane(predictions[entry['image_id']], args.pred_dir, value)
        plane[plane < 0] = len(label_of)
        index = read_plane(entry, args.gt_dir, lambda position, _: position).astype(np.int16)
        samples.append(
            dict(
                img_id=entry['image_id'],
                img_path=entry['file_name'].replace('.png', '.jpg'),
                ori_shape=plane.shape,
                pred_panoptic_seg=dict(sem_seg=torch.from_numpy(plane)[None]),
                gt_panoptic_seg=dict(index_map=torch.from_numpy(index)[None]),
                gt_segments=dict(
                    labels=torch.tensor(
                        [label_of[s['category_id']] for s in entry['segments_info']]
                    ),
                    is_crowd=torch.tensor([bool(s['iscrowd']) for s in entry['segments_info']]),
                ),
            )
        )
    files = dict(ann_file=args.gt_json, seg_prefix=args.gt_dir)
    metrics = {
        'mmdet CocoPanopticMetric': METRICS.build(dict(type='CocoPanopticMetric', **files)),
        'PanopticQualityMetric, index plane': METRICS.build(dict(type='PanopticQualityMetric')),
        'PanopticQualityMetric, from PNG': METRICS.build(
            dict(type='PanopticQualityMetric', **files)
        ),
    }
    times = {name: [] for name in metrics}
    for sample in samples:  # side by side: a busy machine slows all of them
        for name, metric in metrics.items():
            metric.dataset_meta = meta
            given = dict(
                sample,
                pred_panoptic_seg=dict(sem_seg=sample['pred_panoptic_seg']['sem_seg'].clone()),
            )  # mmdet writes into it
            if 'index' not in name:
                given = {key: item for key, item in given.items() if not key.startswith('gt_')}
            start = time.perf_counter()
            metric.process({}, [given])
            times[name].append(1e3 * (time.perf_counter() - start))
    quality = {
        name: metric.evaluate(len(samples))['coco_panoptic/PQ'] for name, metric in metrics.items()
    }
    first = next(iter(times.values()))
    print(f'{"":36s} {"median ms":>10s} {"mmdet / this":>13s} {"PQ":>9s}')
    for name, values in times.items():
        ratio = statistics.median(a / b for a, b in zip(first, values))
        print(f'{name:36s} {statistics.median(values):10.2f} {ratio:13.1f} {quality[name]:9.4f}')


if __name__ == '__main__':
    main()
