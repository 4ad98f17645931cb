"""Classes and images are told apart by what they are, not by position or number."""

import json
import shutil

import numpy as np
import torch
from trial.place import Place
from trial.situation import DETECTOR, INFERENCER, TEST, TRAIN, Found, Wrong, section

from .common import must_tell, pq, trains

kind = section(
    'Classes and images by name',
    'Classes are told apart by their names, and by whether they are things, not by their '
    'place in a list. Where a checkpoint and data, or two data sets of one run, have the '
    'same classes in another order, the result is the same or a sentence names the '
    'difference. Images are told apart by more than their number.',
)

DIFFER = r'class|categor'
CONCAT = 'https://github.com/open-mmlab/mmdetection/issues/3019'


def reverse(content: dict) -> None:
    content['categories'].reverse()


def swap_first(content: dict) -> None:
    categories = content['categories']
    categories[0], categories[1] = categories[1], categories[0]


def renumber(content: dict) -> None:
    """Other category ids, which the segments use as well."""
    new = {category['id']: 500 - category['id'] for category in content['categories']}
    for category in content['categories']:
        category['id'] = new[category['id']]
    for annotation in content['annotations']:
        for segment in annotation['segments_info']:
            segment['category_id'] = new[segment['category_id']]


@kind('The test file lists the same categories in another order', TEST, told=DIFFER)
def reordered(place: Place) -> Found:
    place.edit(reverse, 'val')
    return pq(place)


@kind('The test file lists two things in another order', TEST, told=DIFFER)
def swapped(place: Place) -> Found:
    place.edit(swap_first, 'val')
    return pq(place)


@kind('The test file has the same names under other category ids', TEST, told=DIFFER)
def renumbered(place: Place) -> Found:
    place.edit(renumber, 'val')
    return pq(place)


@kind('The test file calls a class of the checkpoint by another name', TEST, told='circle|disk')
def renamed(place: Place) -> Wrong:
    place.edit(lambda content: content['categories'][0].update(name='circle'), 'val')
    found = pq(place)
    return Wrong(f'PQ {found.value:.2f} without a word')


@kind('The test file says that a thing of the checkpoint is stuff', TEST, told='cross|thing|stuff')
def other_kind(place: Place) -> Wrong:
    def change(content: dict) -> None:
        content['categories'][5]['isthing'] = 0

    place.edit(change)
    text = 'model = dict(num_things_classes=5, num_stuff_classes=6)\n'
    found = pq(place, text)
    return Wrong(f'PQ {found.value:.2f} without a word')


@kind('The test data give the classes in another order by metainfo', TEST, told=DIFFER)
def metainfo(place: Place) -> Found:
    names = [category['name'] for category in place.content('val')['categories']]
    things, stuff = names[5::-1], names[6:]
    text = f'test_dataloader = dict(dataset=dict(metainfo=dict(thing_classes={things}, '
    return pq(place, f'{text}stuff_classes={stuff})))\n')


def relabel_checkpoint(place: Place, change) -> None:
    """Change the classes that the checkpoint says it was trained on."""
    checkpoint = torch.load(place.checkpoint, weights_only=False)
    meta = checkpoint['meta']['dataset_meta']
    for key in ('classes', 'thing_classes', 'stuff_classes'):
        meta[key] = change(list(meta[key]))
    place.checkpoint = place.folder / 'other.pth'
    torch.save(checkpoint, place.checkpoint)


def other_names(names: list) -> list:
    return [f'other {name}' for name in names]


@kind('The checkpoint was trained on as many other classes', TEST, told=DIFFER)
def other_checkpoint(place: Place) -> Wrong:
    relabel_checkpoint(place, other_names)
    found = pq(place)
    return Wrong(f'PQ {found.value:.2f} without a word')


@kind(
    'The checkpoint was trained on as many other classes, and training resumes from it',
    'tools/train.py --resume',
    told=DIFFER,
)
def resumed(place: Place) -> Wrong:
    relabel_checkpoint(place, other_names)
    return must_tell(place, '', '--resume', place.checkpoint, iterations=122)


@kind(
    'load_from names a checkpoint of the same classes in another order',
    TRAIN,
    told=DIFFER,
    word='(?i)warn.*class',
)
def loaded(place: Place) -> Found:
    relabel_checkpoint(place, lambda names: names[::-1])
    return trains(place, f"load_from = '{place.checkpoint}'\n")


def small_checkpoint(place: Place) -> None:
    """Save a checkpoint of a model with 4 things and 5 stuff classes."""
    checkpoint = torch.load(place.checkpoint, weights_only=False)
    for key, value in checkpoint['state_dict'].items():
        for axis, size in enumerate(value.shape):
            if size == 12:
                checkpoint['state_dict'][key] = value.narrow(axis, 0, 10)
    place.checkpoint = place.folder / 'small.pth'
    torch.save(checkpoint, place.checkpoint)


SMALL = r'small\.pth|num_(things|stuff)_classes|size|shape'
SHAPES = 'https://github.com/open-mmlab/mmdetection/issues/4563'


@kind(
    'init_detector is given a checkpoint of a model with fewer classes',
    DETECTOR,
    told=SMALL,
    report=SHAPES,
)
def small_detector(place: Place) -> Wrong:
    small_checkpoint(place)
    place.detector()
    return Wrong('predicts with classification weights that were left at random')


@kind(
    'DetInferencer is given a checkpoint of a model with fewer classes',
    INFERENCER,
    told=SMALL,
    report=SHAPES,
)
def small_inferencer(place: Place) -> Wrong:
    small_checkpoint(place)
    place.inferencer()
    return Wrong('draws with classification weights that were left at random')


@kind('A test is given a checkpoint of a model with fewer classes', TEST, told=SMALL, report=SHAPES)
def small_test(place: Place) -> Wrong:
    small_checkpoint(place)
    found = pq(place)
    return Wrong(f'PQ {found.value:.2f} without a word')


def detected_names(place: Place, text: str = '') -> list[str]:
    """The names of the classes that a detector finds in the first image."""
    from mmdet.apis import inference_detector

    model = place.detector(text)
    result = inference_detector(model, str(place.images('val')[0])).pred_panoptic_seg
    classes = model.dataset_meta['classes']
    labels = np.unique(result.sem_seg.numpy() % 1000)
    return sorted(classes[label] for label in labels if label < len(classes))


@kind('The config lists the classes in another order than the checkpoint', DETECTOR, told=DIFFER)
def config_order(place: Place) -> Found:
    names = [category['name'] for category in place.content('val')['categories']]
    text = (
        'test_dataloader = dict(dataset=dict(metainfo=dict('
        f'thing_classes={names[5::-1]}, stuff_classes={names[6:]})))\n'
    )
    return Found(detected_names(place, text), detected_names(place), 'names')


def second_source(place: Place, change) -> str:
    """A copy of the training data with changed annotations, and the loader that joins both."""
    other = place.folder / 'data/other'
    shutil.copytree(place.folder / 'data/shapes', other)
    path = other / 'annotations/panoptic_train2017.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return """
parts = [
    dict(type='PanopticIndexDataset', data_root=root, image_size=_base_.image_size,
         ann_file='annotations/panoptic_train2017.json', pipeline=_base_.train_pipeline,
         data_prefix=dict(img='train2017/', seg='annotations/panoptic_train2017/'))
    for root in ('data/shapes/', 'data/other/')]
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=parts))
del parts
"""


def labels_seen(place: Place, text: str) -> Found:
    """Train, and compare the label of the disks in both sources."""
    from mmengine.runner import Runner

    seen = {}
    build = Runner.build_dataloader

    def look(dataloader, *args, **kwargs):
        loader = build(dataloader, *args, **kwargs)
        for half, part in enumerate(getattr(loader.dataset, 'datasets', [])):
            part.full_init()
            seen[half] = list(part.metainfo['classes']).index('disk')
        return loader

    Runner.build_dataloader = staticmethod(look)
    place.train(text)
    return Found(seen.get(1), seen.get(0), 'label of the disks in the second source:', 0)


for when, rest in (
    ('', ''),
    (', without validation', 'val_cfg = val_dataloader = val_evaluator = None\n'),
):

    @kind(
        f'ConcatDataset joins two sources whose categories stand in another order{when}',
        TRAIN,
        told=DIFFER,
        report=CONCAT,
    )
    def concatenated(place: Place, rest: str = rest) -> Found:
        return labels_seen(place, second_source(place, reverse) + rest)


@kind('ConcatDataset joins two sources of the same classes', TRAIN, report=CONCAT)
def concatenated_alike(place: Place) -> Found:
    return trains(place, second_source(place, lambda content: None))


@kind(
    'ConcatDataset joins two sources of different classes',
    TRAIN,
    told=DIFFER,
    report='https://github.com/open-mmlab/mmdetection/issues/8890',
)
def concatenated_others(place: Place) -> Wrong:
    def change(content: dict) -> None:
        content['categories'][0]['name'] = 'apple'

    return must_tell(place, second_source(place, change))


@kind('Two data sets of one test both count their images from 1', TEST, told='image|id')
def two_counts(place: Place) -> Found:
    """The right value: the same images in one file, counted on."""
    shutil.copytree(place.folder / 'data/shapes', place.folder / 'data/both')
    content = place.content('val')
    train = place.content('train')
    for entry in train['images'] + train['annotations']:
        key = 'id' if 'id' in entry else 'image_id'
        name = f'{entry[key] + 100:012d}.png'
        shutil.copy(
            place.images('train')[entry[key] - 1], place.folder / f'data/both/val2017/{name}'
        )
        shutil.copy(
            place.pngs('train') / f'{entry[key]:012d}.png',
            place.folder / f'data/both/annotations/panoptic_val2017/{name}',
        )
        entry[key], entry['file_name'] = entry[key] + 100, name
    content['images'] += train['images']
    content['annotations'] += train['annotations']
    both = place.folder / 'data/both/annotations/panoptic_val2017.json'
    both.write_text(json.dumps(content))
    right = place.test(
        """
test_dataloader = dict(dataset=dict(data_root='data/both/'))
test_evaluator = dict(ann_file=None, seg_prefix=None)
""",
        work='both',
    )['PQ']
    return pq(
        place,
        """
parts = [
    dict(type='PanopticIndexDataset', data_root='data/shapes/', image_size=_base_.image_size,
         ann_file=f'annotations/panoptic_{split}2017.json', pipeline=_base_.test_pipeline,
         data_prefix=dict(img=f'{split}2017/', seg=f'annotations/panoptic_{split}2017/'),
         test_mode=True)
    for split in ('train', 'val')]
test_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=parts))
test_evaluator = dict(ann_file=None, seg_prefix=None)
del parts
""",
        right=float(right),
    )


@kind(
    'The few names of a data set all occur in COCO',
    TRAIN,
    report='https://github.com/open-mmlab/mmdetection/issues/12305',
)
def coco_names(place: Place) -> Found:
    from mmdet.datasets import CocoPanopticDataset

    names = CocoPanopticDataset.METAINFO

    def change(content: dict) -> None:
        for number, category in enumerate(content['categories']):
            kind = 'thing_classes' if category['isthing'] else 'stuff_classes'
            category['name'] = names[kind][3 * number]

    place.edit(change)
    return trains(place)


@kind('Two categories have one name', TRAIN, told=r'stripes|name')
def one_name(place: Place) -> Wrong:
    place.edit(lambda content: content['categories'][7].update(name='stripes'))
    return must_tell(place)


@kind('A thing and a stuff class have one name, as in some conversions', TRAIN, told=r'disk|name')
def thing_and_stuff(place: Place) -> Found:
    place.edit(lambda content: content['categories'][7].update(name='disk'))
    return trains(place)


@kind(
    'The validation file lists the categories of the training file in another order',
    TRAIN,
    told=DIFFER,
)
def validation_order(place: Place) -> Found:
    place.edit(reverse, 'val')
    return trains(place)


@kind(
    'The class counts of the config are not those of the data',
    TRAIN,
    told=r'num_things_classes',
    report='https://github.com/open-mmlab/mmdetection/issues/8734',
)
def counts(place: Place) -> Wrong:
    return must_tell(place, 'model = dict(num_things_classes=80, num_stuff_classes=53)\n')
