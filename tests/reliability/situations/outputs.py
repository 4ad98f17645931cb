"""Outputs that mmdet's users expect beside PQ, and files of predictions."""

import json
import pickle
import shutil

import numpy as np
import torch
from trial.place import Place
from trial.situation import INFERENCER, TEST, Found, section

from .common import known_pq, pq

kind = section('Outputs', "What mmdet's users expect beside PQ, and files of predictions.")

PATHS = dict(
    ann_file='data/shapes/annotations/panoptic_val2017.json',
    seg_prefix='data/shapes/annotations/panoptic_val2017/',
)
PANOPTIC = f"dict(type='PanopticQualityMetric', **{PATHS})"


def order_as_classes(place: Place) -> None:
    """List the categories in the order of the model's classes, as metrics of mmdet want it."""
    classes = torch.load(place.checkpoint, weights_only=False)['meta']['dataset_meta']['classes']
    place.edit(lambda c: c['categories'].sort(key=lambda e: classes.index(e['name'])), 'val')


def beside(metric: str) -> str:
    return f"""
test_evaluator = [{PANOPTIC}, {metric}]
"""


def instances_file(place: Place) -> None:
    """The truth of the things as an instance file with run-length masks."""
    from pycocotools import mask
    from trial.place import ids_of

    content = place.content('val')
    things = [c for c in content['categories'] if c['isthing']]
    annotations = []
    for annotation in content['annotations']:
        ids = ids_of(place.pngs('val') / annotation['file_name'])
        for segment in annotation['segments_info']:
            if segment['category_id'] in {c['id'] for c in things}:
                rle = mask.encode(np.asfortranarray(ids == segment['id']))
                rle['counts'] = rle['counts'].decode()
                annotations.append(
                    dict(
                        segment,
                        image_id=annotation['image_id'],
                        id=len(annotations) + 1,
                        segmentation=rle,
                    )
                )
    file = dict(images=content['images'], categories=things, annotations=annotations)
    (place.folder / 'instances.json').write_text(json.dumps(file))


@kind(
    'CocoMetric stands beside PQ, and the model gives instances',
    TEST,
    told='instance',
    report='https://github.com/open-mmlab/mmdetection/pull/7313',
)
def coco_metric(place: Place) -> Found:
    order_as_classes(place)
    instances_file(place)
    metric = "dict(type='CocoMetric', ann_file='instances.json', metric=['bbox', 'segm'])"
    figures = place.test(beside(metric) + 'model = dict(instance_on=True)\n')
    found = 'coco/segm_mAP' in figures, abs(float(figures['PQ']) - known_pq(place)) < 0.01
    return Found(found, (True, True), 'mAP of masks, and PQ as before:')


@kind(
    'SemSegMetric stands beside PQ, and the model gives a semantic map',
    TEST,
    told='semantic',
    report='https://github.com/open-mmlab/mmdetection/issues/11945',
)
def semantic_metric(place: Place) -> Found:
    text = beside("dict(type='SemSegMetric', iou_metrics=['mIoU'])")
    figures = place.test(text + 'model = dict(semantic_on=True)\n')
    found = (
        any('mIoU' in key for key in figures),
        abs(float(figures['PQ']) - known_pq(place)) < 0.01,
    )
    return Found(found, (True, True), 'mIoU, and PQ as before:')


for metric, word in (
    ("dict(type='CocoMetric', ann_file='instances.json')", 'instance|CocoMetric'),
    ("dict(type='SemSegMetric', iou_metrics=['mIoU'])", 'semantic|SemSegMetric'),
):

    @kind(
        f'{metric[11:].partition(chr(39))[0]} stands beside PQ, and the model is not asked for it',
        TEST,
        told=word,
    )
    def not_asked(place: Place, metric: str = metric) -> Found:
        instances_file(place)
        return pq(place, beside(metric))


@kind("mmdet's CocoPanopticMetric in place of ours", TEST)
def mmdet_metric(place: Place) -> Found:
    order_as_classes(place)
    metric = f"dict(_delete_=True, type='CocoPanopticMetric', **{PATHS})"
    return pq(place, f'test_evaluator = {metric}\n')


@kind(
    "mmdet's CocoPanopticMetric, and the file lists the categories in another order",
    TEST,
    told='CocoPanopticMetric|categor',
)
def mmdet_metric_order(place: Place) -> Found:
    order_as_classes(place)
    place.edit(lambda content: content['categories'].reverse(), 'val')
    metric = f"dict(_delete_=True, type='CocoPanopticMetric', **{PATHS})"
    return pq(place, f'test_evaluator = {metric}\n')


@kind('Predictions are dumped with --out', TEST + ' --out')
def dumped(place: Place) -> Found:
    place.test('', '--out', 'out.pkl')
    with open('out.pkl', 'rb') as stream:
        return Found(len(pickle.load(stream)), len(place.images('val')), 'predictions:', 0)


@kind(
    'Predictions are written by outfile_prefix and scored by evaluate_panoptic.py',
    TEST + ', evaluate_panoptic.py',
)
def written(place: Place) -> Found:
    place.test("test_evaluator = dict(outfile_prefix='out')\n")
    shutil.move('out.panoptic.json', place.file('out'))
    shutil.move('out.panoptic', place.pngs('out'))
    return Found(place.evaluate('val', 'out')['All'], known_pq(place), 'PQ')


@kind(
    'Two images of different folders have one file name; predictions are written',
    TEST,
    told=r'000000000001|name',
)
def same_names(place: Place) -> Found:
    images = place.folder / 'data/shapes/val2017'
    for number, path in enumerate(place.images('val')):
        (images / f'city{number}').mkdir()
        shutil.move(path, images / f'city{number}/image.png')

    def change(content: dict) -> None:
        for number, image in enumerate(content['images']):
            image['file_name'] = f'city{number}/image.png'

    place.edit(change, 'val')
    place.test("test_evaluator = dict(outfile_prefix='out')\n")
    content = json.loads((place.folder / 'out.panoptic.json').read_text())
    names = {annotation['file_name'] for annotation in content['annotations']}
    return Found(len(names), 4, 'PNGs for 4 images:', 0)


@kind('DetInferencer writes pictures and panoptic PNGs', INFERENCER)
def files(place: Place) -> Found:
    inferencer = place.inferencer()
    paths = [str(path) for path in place.images('val')]
    inferencer(paths, out_dir='out', no_save_pred=False, batch_size=2)
    pictures = list((place.folder / 'out/vis').iterdir())
    maps = list((place.folder / 'out/preds').glob('*_panoptic_seg.png'))
    return Found((len(pictures), len(maps)), (4, 4), 'pictures and PNGs:')


@kind('DetInferencer is given a folder of images', INFERENCER)
def folder(place: Place) -> Found:
    inferencer = place.inferencer()
    found = inferencer(str(place.folder / 'data/shapes/val2017'), return_datasamples=True)
    return Found(len(found['predictions']), 4, 'predictions:', 0)


@kind(
    'Every picture of a test is drawn',
    'tools/test.py --show-dir',
    report='https://github.com/open-mmlab/mmdetection/issues/10333',
)
def shown(place: Place) -> Found:
    place.test('', '--show-dir', 'shown')
    pictures = list((place.folder / 'tested').rglob('shown/*.png'))
    return Found(len(pictures), 4, 'pictures:', 0)
