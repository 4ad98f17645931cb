"""Fields of the annotation file are checked for their form, by one rule on every route."""

import shutil
from pathlib import Path

from trial.place import Place, ids_of, write_ids
from trial.situation import EVALUATE, TEST, TRAIN, Found, Wrong, section

from .common import each_category, each_segment, first_segment, must_tell, pq, trains, truth_itself

kind = section(
    'Fields of the annotation file',
    'One reader with one rule for each field serves training, evaluation and the command '
    'line. It looks at the form of a value, not only whether it is there.',
)

ISTHING = 'https://github.com/open-mmlab/mmdetection/issues/10431'


def text_isthing(category: dict) -> None:
    category['isthing'] = str(category['isthing'])


def numbers(place: Place, change) -> Found:
    """The numbers of things and stuff that the command line counts."""
    import json

    place.copy_truth()
    place.edit(change, 'val')
    place.evaluate('val', 'pred')
    figures = json.loads((place.folder / 'figures.json').read_text())
    present = {
        s['category_id'] for a in place.content('pred')['annotations'] for s in a['segments_info']
    }
    things = {c['id'] for c in place.content('pred')['categories'] if c['isthing'] == 1}
    right = len(present & things), len(present - things)
    return Found((figures['Things']['n'], figures['Stuff']['n']), right, 'things and stuff:')


@kind('"isthing" is "1" or "0", as text', TRAIN, told='isthing')
def isthing_text_trained(place: Place) -> Found:
    place.edit(each_category(text_isthing))
    return trains(place)


@kind('"isthing" is "1" or "0", as text', EVALUATE, told='isthing')
def isthing_text_evaluated(place: Place) -> Found:
    return numbers(place, each_category(text_isthing))


@kind('"isthing" is true or false', EVALUATE)
def isthing_bool_evaluated(place: Place) -> Found:
    return numbers(place, each_category(lambda c: c.update(isthing=bool(c['isthing']))))


@kind('"isthing" is true or false', TRAIN)
def isthing_bool_trained(place: Place) -> Found:
    place.edit(each_category(lambda c: c.update(isthing=bool(c['isthing']))))
    return trains(place)


for route in (TRAIN, EVALUATE):

    @kind('The categories have no "isthing"', route, told='isthing', report=ISTHING)
    def no_isthing(place: Place, route: str = route) -> Found | Wrong:
        change = each_category(lambda c: c.pop('isthing'))
        if route == EVALUATE:
            truth_itself(place, change)
            return Wrong('scores without knowing things from stuff')
        place.edit(change)
        return must_tell(place)

    @kind('"isthing" is 2 in one category', route, told='isthing.*2|2.*isthing')
    def isthing_two(place: Place, route: str = route) -> Found | Wrong:
        def change(content: dict) -> None:
            content['categories'][0]['isthing'] = 2

        if route == EVALUATE:
            truth_itself(place, change)
            return Wrong('counts the class as stuff without a word')
        place.edit(change)
        return must_tell(place)


for form, color, told in (
    ('"#dc2828"', '#dc2828', 'color'),
    ('four numbers, RGBA', [220, 40, 40, 255], 'color'),
    ('fractions from 0 to 1', [0.86, 0.16, 0.16], 'color'),
    ('null', None, 'color'),
):

    @kind(
        f'Colors of categories are {form}; pictures are drawn',
        'tools/test.py --show-dir',
        told=told,
    )
    def colors(place: Place, color=color) -> Found:
        place.edit(each_category(lambda c: c.update(color=color)))
        return drawn(place)


@kind(
    'Categories have no colors; pictures are drawn',
    'tools/test.py --show-dir',
    report='https://github.com/cocodataset/panopticapi/issues/2',
)
def no_colors(place: Place) -> Found:
    place.edit(each_category(lambda c: c.pop('color')))
    return drawn(place)


def drawn(place: Place, text: str = '') -> Found:
    place.test(text, '--show-dir', 'shown')
    pictures = [p for p in Path(place.folder, 'tested').rglob('*.png')]
    return Found(len(pictures), len(place.images('val')), 'pictures drawn:', 0)


@kind('Colors of categories are "#dc2828"', TRAIN, told='color')
def colors_trained(place: Place) -> Found:
    place.edit(each_category(lambda c: c.update(color='#dc2828')))
    return trains(place)


for form, box in (('an empty list', []), ('null', None), ('three numbers', [1, 2, 3])):

    @kind(f'"bbox" of every segment is {form}, which nothing reads', TRAIN, told='bbox')
    def boxes(place: Place, box=box) -> Found:
        place.edit(each_segment(lambda s: s.update(bbox=box)))
        return trains(place)


@kind(
    'The segments have no "bbox"',
    TRAIN,
    report='https://github.com/cocodataset/panopticapi/issues/57',
)
def no_boxes(place: Place) -> Found:
    place.edit(each_segment(lambda s: s.pop('bbox')))
    return trains(place)


def text_ids(content: dict) -> None:
    for annotation in content['annotations']:
        annotation['image_id'] = str(annotation['image_id'])


def text_ids_everywhere(content: dict) -> None:
    text_ids(content)
    for image in content['images']:
        image['id'] = str(image['id'])


TEXT = r'text|str|type|number'


@kind('Image ids are text in "annotations" and numbers in "images"', TRAIN, told=TEXT)
def ids_one_side(place: Place) -> Wrong:
    place.edit(text_ids)
    return must_tell(place)


@kind('Image ids are text in the truth and numbers in the prediction', EVALUATE, told=TEXT)
def ids_two_files(place: Place) -> Wrong:
    found = truth_itself(place, text_ids_everywhere)
    return Wrong(f'PQ {found.value:.2f}')


@kind('Image ids are text throughout', TRAIN)
def ids_both_sides(place: Place) -> Found:
    place.edit(text_ids_everywhere)
    return trains(place)


@kind('Image ids are file names throughout, as in Cityscapes', TEST)
def ids_names(place: Place) -> Found:
    def change(content: dict) -> None:
        for image in content['images']:
            image['id'] = f'city_{image["id"]}'
        for annotation in content['annotations']:
            annotation['image_id'] = f'city_{annotation["image_id"]}'

    place.edit(change)
    return pq(place)


def one_id_twice(content: dict) -> None:
    content['categories'][1]['id'] = content['categories'][0]['id']


def zero_id(place: Place) -> None:
    """The first segment of the first image gets the id 0, in the JSON and in the PNG."""
    for split in ('train', 'val'):
        content = place.content(split)
        segment = content['annotations'][0]['segments_info'][0]
        path = place.pngs(split) / content['annotations'][0]['file_name']
        ids = ids_of(path)
        ids[ids == segment['id']] = 0
        write_ids(path, ids)
    place.edit(first_segment(id=0))


def image_twice(content: dict) -> None:
    content['images'].append(content['images'][0])


def annotated_twice(content: dict) -> None:
    content['annotations'].append(content['annotations'][0])


def listed_twice(content: dict) -> None:
    segments = content['annotations'][0]['segments_info']
    segments.append(dict(segments[0]))


def unknown_category(content: dict) -> None:
    content['annotations'][0]['segments_info'][0]['category_id'] = 999


def text_category(content: dict) -> None:
    segment = content['annotations'][0]['segments_info'][0]
    segment['category_id'] = str(segment['category_id'])


def crowd_text(content: dict) -> None:
    content['annotations'][0]['segments_info'][0]['iscrowd'] = '0'


def no_segments_info(content: dict) -> None:
    content['annotations'][0].pop('segments_info')


def no_file_name(content: dict) -> None:
    content['annotations'][0].pop('file_name')


def no_category_id(content: dict) -> None:
    content['annotations'][0]['segments_info'][0].pop('category_id')


def empty_name(content: dict) -> None:
    content['categories'][0]['name'] = ''


def number_name(content: dict) -> None:
    content['categories'][0]['name'] = 7


def instances_json(content: dict) -> None:
    """As instances_train2017.json has it: one annotation for each thing."""
    content['annotations'] = [
        dict(
            id=n, image_id=1, category_id=10, bbox=[0, 0, 5, 5], area=25, iscrowd=0, segmentation=[]
        )
        for n in range(3)
    ]


for name, change, told in (
    ('Two categories have one id', one_id_twice, r'id'),
    ('A segment has the id 0, the color of void', zero_id, r'\b0\b'),
    ('An image is listed twice', image_twice, r'twice|two'),
    ('An image is annotated twice', annotated_twice, r'twice|two'),
    ('A segment is listed twice', listed_twice, r'twice|two'),
    ('A segment has a category that the file does not list', unknown_category, r'999'),
    ('A "category_id" is text', text_category, r'category_id'),
    ('"iscrowd" is "0", as text', crowd_text, r'iscrowd'),
    ('An annotation has no "segments_info"', no_segments_info, r'segments_info'),
    ('An annotation has no "file_name"', no_file_name, r'file_name'),
    ('A segment has no "category_id"', no_category_id, r'category_id'),
    ('A category has an empty name', empty_name, r'name'),
    ('The name of a category is a number', number_name, r'name'),
    ('The annotation file is one for instances', instances_json, r'panoptic'),
):
    for route in (TRAIN, EVALUATE):

        @kind(name, route, told=told)
        def formed(place: Place, change=change, route: str = route) -> Wrong:
            if route == EVALUATE:
                place.copy_truth()
            if change is zero_id:
                zero_id(place)
            else:
                place.edit(change)
            if route == TRAIN:
                return must_tell(place)
            return Wrong(f'PQ {place.evaluate("val", "pred")["All"]:.2f} without a word')


@kind('"iscrowd" is missing', TRAIN)
def no_crowd(place: Place) -> Found:
    place.edit(each_segment(lambda s: s.pop('iscrowd')))
    return trains(place)


@kind('Segments have fields of their own', TRAIN)
def more_fields(place: Place) -> Found:
    place.edit(each_segment(lambda s: s.update(attributes=dict(occluded=True))))
    return trains(place)


@kind(
    'The JSON begins with a byte order mark, as Windows editors write', TRAIN, told='JSON|BOM|byte'
)
def byte_order_mark(place: Place) -> Found:
    for split in ('train', 'val'):
        place.file(split).write_bytes(b'\xef\xbb\xbf' + place.file(split).read_bytes())
    return trains(place)


@kind('The JSON breaks off in the middle', TRAIN, told=r'panoptic_train2017\.json')
def broken(place: Place) -> Wrong:
    text = place.file('train').read_text()
    place.file('train').write_text(text[: len(text) // 2])
    return must_tell(place)


@kind('The names of the images have folders in them', TRAIN)
def folders(place: Place) -> Found:
    for split in ('train', 'val'):
        images = place.folder / f'data/shapes/{split}2017'
        (images / 'city').mkdir()
        for path in images.glob('*.png'):
            shutil.move(path, images / 'city' / path.name)

    def change(content: dict) -> None:
        for image in content['images']:
            image['file_name'] = f'city/{image["file_name"]}'

    place.edit(change)
    return trains(place)
