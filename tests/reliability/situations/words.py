"""A right figure that needs a word, and what is drawn."""

import resource
import time

import cv2
import numpy as np
from trial.place import Place, ids_of, write_ids
from trial.situation import EVALUATE, INFERENCER, TEST, TRAIN, Found, Wrong, section

from .common import pq

kind = section(
    'Right figures that need a word',
    'Some figures are right and yet not what their reader believes. Here the figure comes '
    'with a sentence, and data without truth are told so.',
)


def split_stuff(place: Place, split: str) -> None:
    """Cut every stuff segment into an upper and a lower half with ids of their own."""
    content = place.content(split)
    stuff = {c['id'] for c in content['categories'] if not c['isthing']}
    for annotation in content['annotations']:
        path = place.pngs(split) / annotation['file_name']
        ids = ids_of(path)
        for segment in list(annotation['segments_info']):
            rows = np.flatnonzero((ids == segment['id']).any(1))
            if segment['category_id'] not in stuff or len(rows) < 2:
                continue
            lower = ids == segment['id']
            lower[: int(rows.mean()) + 1] = False
            if not lower.any():
                continue
            new = dict(segment, id=segment['id'] ^ 0x800000, area=int(lower.sum()))
            segment['area'] -= new['area']
            ids[lower] = new['id']
            annotation['segments_info'].append(new)
        write_ids(path, ids)
    import json

    place.file(split).write_text(json.dumps(content))


STUFF = r'(?i)warn.*stuff|stuff.*segments.*(one|merge|split)|segments of (one|the same) '


@kind('Stuff of the truth is split into several segments of one class', EVALUATE, word=STUFF)
def split_evaluated(place: Place) -> Found:
    place.copy_truth()
    split_stuff(place, 'val')
    figures = place.evaluate('val', 'pred')
    return Found(figures['Things'], 100.0, 'PQ of things')


@kind('Stuff of the truth is split into several segments of one class', TEST, word=STUFF)
def split_tested(place: Place) -> Found:
    split_stuff(place, 'val')
    figures = place.test()
    return Found(float(figures['PQ_th']), float(place.known['PQ_th']), 'PQ of things')


@kind('Stuff of the truth is split into several segments of one class', TRAIN, word=STUFF)
def split_trained(place: Place) -> Found:
    split_stuff(place, 'train')
    return Found(place.train().get('step'), 2, 'iterations trained:', 0)


def without_truth(content: dict) -> None:
    content.pop('annotations')


TRUTH = r'annotation|truth'


@kind(
    'The data set has no truth, as test-dev',
    TEST,
    told=TRUTH,
    report='https://github.com/open-mmlab/mmdetection/issues/8614',
)
def no_truth_tested(place: Place) -> Wrong:
    place.edit(without_truth, 'val')
    return Wrong(f'PQ {pq(place).value}')


@kind(
    'The truth has no annotations',
    EVALUATE,
    told=r'no (annotation|truth)|without (annotation|truth)|withheld|test set',
)
def no_truth_evaluated(place: Place) -> Wrong:
    place.copy_truth()
    place.edit(without_truth, 'val')
    return Wrong(f'PQ {place.evaluate("val", "pred")["All"]}')


@kind('The data set has no truth', TRAIN, told=TRUTH)
def no_truth_trained(place: Place) -> Wrong:
    place.edit(without_truth, 'train')
    place.train()
    return Wrong('trains to the end without a word')


@kind('Predictions for a data set without truth are written', 'tools/test.py, format_only=True')
def format_only(place: Place) -> Found:
    import json

    place.edit(without_truth, 'val')
    text = """
test_dataloader = dict(dataset=dict(pipeline=[
    step for step in _base_.test_pipeline if step['type'] != 'LoadPanopticIndexMap']))
test_evaluator = dict(format_only=True, outfile_prefix='out', seg_prefix=None)
"""
    place.test(text)
    written = json.loads((place.folder / 'out.panoptic.json').read_text())['annotations']
    return Found(len(written), len(place.images('val')), 'images written:', 0)


@kind('One image of the test file has no annotation', TEST, told=r'image')
def one_without(place: Place) -> Wrong:
    place.edit(lambda content: content['annotations'].pop(), 'val')
    return Wrong(f'PQ {pq(place).value}')


@kind('The prediction of one image is missing', EVALUATE, told=r'image')
def one_missing(place: Place) -> Wrong:
    place.copy_truth()
    place.edit(lambda content: content['annotations'].pop(), 'pred')
    return Wrong(f'PQ {place.evaluate("val", "pred")["All"]}')


@kind('The prediction is smaller than the truth', EVALUATE, told=r'pixels|size')
def smaller(place: Place) -> Wrong:
    place.copy_truth()
    path = str(place.pngs('pred') / '000000000001.png')
    cv2.imwrite(path, cv2.resize(cv2.imread(path), (48, 48), interpolation=cv2.INTER_NEAREST))
    return Wrong(f'PQ {place.evaluate("val", "pred")["All"]}')


@kind('A thing of the truth becomes a crowd; the prediction has it as a thing', EVALUATE)
def crowd(place: Place) -> Found:
    """A predicted segment on a crowd of its class counts neither for nor against it."""
    place.copy_truth()

    def change(content: dict) -> None:
        segments = content['annotations'][0]['segments_info']
        next(s for s in segments if s['category_id'] < 100)['iscrowd'] = 1

    place.edit(change, 'val')
    return Found(place.evaluate('val', 'pred')['All'], 100.0, 'PQ')


@kind('A picture of 8000 x 6000 pixels is drawn', INFERENCER)
def large(place: Place) -> Found:
    """Drawing must cost no more than predicting, in processor time and in memory."""
    path = place.folder / 'large.jpg'
    cv2.imwrite(str(path), cv2.resize(place.image(), (8000, 6000)))
    inferencer, costs = place.inferencer(), []
    start = peak_memory()
    for options in (dict(no_save_vis=True), dict(out_dir='out')):
        begin = time.process_time()
        inferencer(str(path), **options)
        costs.append((time.process_time() - begin, peak_memory() - start))
    (seconds, memory), (all_seconds, all_memory) = costs
    times, sizes = (all_seconds - seconds) / seconds, all_memory / memory
    what = f'drawing costs {times:.1f} x the processor time and {sizes:.1f} x the memory'
    return Found(max(times, sizes) < 1.3, True, f'{what} of the prediction; no more than it:')


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
