"""Splits, reuse, and what is said of faulty data."""

import json
import shutil

import numpy as np
import pytest
from cmt_deeplab.datasets import PanopticIndexDataset
from cmt_deeplab.errors import UserError
from cmt_deeplab.own_data import open_data
from cmt_deeplab.own_data.class_names import read_class_names
from cmt_deeplab.own_data.converting import drawn_for_validation
from cmt_deeplab.own_data.files import Files
from cmt_deeplab.own_data.polygons import ellipse, rasterized, rectangle
from cmt_deeplab.panoptic_json import PREDICTIONS
from cmt_deeplab.whole_file import write_json
from layout_writers import (
    class_values,
    dump,
    instance_ids,
    parts,
    read_back,
    save,
    scenes_of,
    write_coco_instances,
    write_cvat,
    write_images,
    write_label_studio,
    write_labelme,
)
from PIL import Image
from run_tool import run_tool

NONE = dict(stuff='none')


@pytest.fixture(scope='module')
def scenes(shapes_root):
    return scenes_of(shapes_root)[:4]


@pytest.fixture
def data(tmp_path):
    return tmp_path / 'data'


@pytest.fixture
def opened(tmp_path):
    return lambda **options: open_data(tmp_path / 'data', out=tmp_path / 'out', **options)


def write_masks(data, scenes, images='images', masks='masks'):
    write_images(data / images, scenes)
    for scene in scenes:
        save(data / masks / f'{scene.name}.png', instance_ids(scene))


def stems(split):
    return [image['file_name'] for image in json.loads(split.ann_file.read_text())['images']]


# COCO panoptic ----------------------------------------------------------------------------------


def test_coco_panoptic_is_used_in_place(real_data, tmp_path):
    folder = open_data(real_data / 'coco', out=tmp_path / 'out')
    assert folder.train.ann_file == real_data / 'coco/annotations/panoptic_train2017.json'
    assert folder.val.img_dir == real_data / 'coco/val2017'
    assert folder.val.seg_dir == real_data / 'coco/annotations/panoptic_val2017'
    assert not (tmp_path / 'out').exists()


def test_a_panoptic_json_laid_out_freely_is_split(shapes_root, data, opened):
    shutil.copytree(shapes_root / 'train2017', data / 'pictures')
    shutil.copytree(shapes_root / 'annotations/panoptic_train2017', data / 'ids')
    shutil.copy(shapes_root / 'annotations/panoptic_train2017.json', data / 'mine.json')
    folder = opened(val_share=0.25)
    assert folder.train.img_dir == data / 'pictures' and folder.train.seg_dir == data / 'ids'
    read = {**read_back(folder.train), **read_back(folder.val)}
    assert read == {scene.name: parts(scene.segments) for scene in scenes_of(shapes_root)}
    assert len(stems(folder.val)) == 3


def test_stuff_of_coco_panoptic_stands_in_it(shapes_root):
    with pytest.raises(UserError, match='says itself what is stuff'):
        open_data(shapes_root, stuff='sky')


# Splits and reuse -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('train', 'val'),
    [
        ('train/{}', 'val/{}'),
        ('{}/train', '{}/val'),
        ('train_{}', 'valid_{}'),
        ('{}/training', '{}/validation'),
    ],
)
def test_splits_that_the_folders_name(scenes, data, opened, train, val):
    write_masks(data, scenes[:3], train.format('images'), train.format('masks'))
    write_masks(data, scenes[:1], val.format('images'), val.format('masks'))  # of the same name
    folder = opened()
    assert len(stems(folder.train)) == 3 and len(stems(folder.val)) == 1
    assert 'as the folders say' in folder.notes[-1]


def test_a_test_set_is_left_out(scenes, data, opened):
    write_masks(data, scenes[:3], 'train/images', 'train/masks')
    write_masks(data, scenes[3:], 'test/images', 'test/masks')
    folder = opened()
    assert len(stems(folder.train)) == 2 and len(stems(folder.val)) == 1
    assert 'a test set: 1 image' in folder.notes[-1]


def test_the_draw_keeps_every_class_for_training():
    names = [{'a'}, {'a'}, {'a', 'rare'}, {'a'}, {'b'}, {'b'}, {'a'}, {'a'}]
    for seed in range(20):
        held = drawn_for_validation(names, 0.5, seed)
        assert len(held) == 4 and 2 not in held and not {4, 5} <= held
        assert held == drawn_for_validation(names, 0.5, seed)
    assert len(drawn_for_validation([{'a'}, {'b'}], 0.2, 0)) == 1  # no class to spare
    assert drawn_for_validation([{'a'}], 0.2, 0) == drawn_for_validation([{'a'}] * 9, 0, 0) == set()


def test_a_second_call_takes_what_the_first_has_written(scenes, data, opened):
    write_masks(data, scenes)
    calls = []
    first = opened(progress=lambda done, total: calls.append(done))
    again = opened(progress=lambda done, total: calls.append(done))
    assert again == first and calls == [1, 2, 3, 4]
    assert open_data(data.parent / 'out').train == first.train  # the folder is data itself
    save(data / 'masks' / f'{scenes[0].name}.png', np.full(scenes[0].size, 3, np.uint8))
    changed = opened(progress=lambda done, total: calls.append(done))
    assert calls[4:] == [1, 2, 3, 4]
    read = {**read_back(changed.train), **read_back(changed.val)}
    assert [name for name, *_ in read[scenes[0].name]] == ['object']


def test_a_training_keeps_its_data_when_files_change(scenes, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_masks(data, scenes)
    first = open_data(data)
    before = read_back(first.train)
    save(data / 'masks' / f'{scenes[0].name}.png', np.full(scenes[0].size, 3, np.uint8))
    changed = open_data(data).train.ann_file
    assert changed != first.train.ann_file
    for folder, name in (('work_dirs/run', 'any.png'), ('run', 'arguments.json')):
        (data / folder).mkdir(parents=True)
        (data / folder / name).touch()
    predicted = data / 'run2'
    save(predicted / 'panoptic/1.png', np.zeros((4, 4, 3), np.uint8))
    write_json(predicted / 'panoptic.json', dict(info=PREDICTIONS, annotations=[], images=[]))
    assert open_data(data).train.ann_file == changed  # results in the data are none of its files
    assert repr(read_back(first.train)) == repr(before)


def test_files_of_others_are_not_overwritten(scenes, data, opened):
    write_masks(data, scenes)
    dump(data.parent / 'out/mine.json', {})
    with pytest.raises(UserError, match='files of another origin'):
        opened()


def test_the_data_set_of_mmdet_reads_what_is_written(scenes, data, opened):
    write_masks(data, scenes)
    split = opened().train
    dataset = PanopticIndexDataset(
        ann_file=str(split.ann_file),
        data_prefix=dict(img=str(split.img_dir), seg=str(split.seg_dir)),
        pipeline=[],
    )
    assert dataset.metainfo['classes'] == ('object', 'background') and len(dataset) == 3


def test_the_converter_writes_a_folder_that_is_data_itself(scenes, data, tmp_path):
    write_masks(data, scenes)
    done = run_tool('dataset_converters/to_coco_panoptic.py', data, tmp_path / 'out')
    assert done.returncode == 0
    assert '4 images with instance masks' in done.stdout
    assert f'val: {tmp_path}/out/val.json' in done.stdout
    done = run_tool('dataset_converters/to_coco_panoptic.py', data, data)
    assert done.returncode == 1
    assert done.stderr.startswith(f'Error: {data} holds files of another origin')


# Details of formats -----------------------------------------------------------------------------


def test_segmentation_masks_of_cvat(scenes, data, opened):
    classes = sorted({name for scene in scenes for name, *_ in scene.segments})
    write_images(data / 'JPEGImages', scenes)
    for scene in scenes:
        values = class_values(scene, classes)
        numbers = np.zeros(scene.size, np.uint8)
        for k, (*_, mask) in enumerate(scene.segments, start=1):
            numbers[mask] = k  # stuff has numbers too
        save(
            data / f'SegmentationClass/{scene.name}.png', np.stack([values * 9, values, values], 2)
        )
        save(data / f'SegmentationObject/{scene.name}.png', numbers)
    lines = [f'{name}:{9 * k},{k},{k}::' for k, name in enumerate(classes, start=1)]
    (data / 'labelmap.txt').write_text('# label:color_rgb:parts:actions\n' + '\n'.join(lines))
    with pytest.raises(UserError, match='--stuff'):
        opened()
    stuff = [name for scene in scenes for name, thing, *_ in scene.segments if not thing]
    folder = opened(stuff=stuff)
    read = {**read_back(folder.train), **read_back(folder.val)}
    assert read == {s.name: parts([(n, t, False, m) for n, t, _, m in s.segments]) for s in scenes}


def test_polygons_of_yolo(scenes, data, opened):
    write_images(data / 'train/images', scenes)
    for scene in scenes:
        (data / 'train/labels').mkdir(exist_ok=True)
        line = '1 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.75\n'
        (data / f'train/labels/{scene.name}.txt').write_text(line)
    (data / 'data.yaml').write_text('nc: 2\nnames: [cell, dot]')
    folder = opened()
    mask = np.zeros((96, 96), bool)
    mask[24:72, 24:48] = True
    expected = parts([('background', False, False, ~mask), ('dot', True, False, mask)])
    assert [*read_back(folder.train).values()] == [expected] * 3


def test_the_smaller_shape_is_on_top(scenes, data, opened):
    write_labelme(data, scenes[:1], embedded=False)
    file = data / f'{scenes[0].name}.json'
    box = dict(shape_type='rectangle', group_id=None)
    shapes = [
        dict(box, label='small', points=[[20, 20], [30, 30]]),
        dict(box, label='large', points=[[10, 40], [50, 10]]),
        dict(box, label='hidden', points=[[20, 20], [30, 30]]),
        dict(label='round', points=[[70, 70], [70, 80]], shape_type='circle'),
        dict(label='line', points=[[70, 70], [70, 80]], shape_type='line'),
        dict(label='void', points=[[0, 0], [5, 5]], shape_type='rectangle'),
    ]
    file.write_text(json.dumps({**json.loads(file.read_text()), 'shapes': shapes}))
    folder = opened(**NONE)
    content = json.loads(folder.train.ann_file.read_text())
    names = {c['id']: c['name'] for c in content['categories']}
    [annotation] = content['annotations']
    areas = {names[s['category_id']]: s['area'] for s in annotation['segments_info']}
    assert areas['large'] == 40 * 30 - 100
    assert abs(areas['round'] - np.pi * 100) < 5
    assert areas['background'] == 96 * 96 - 25 - 1200 - areas['round']
    assert {'small', 'hidden'} - {*areas} and 'line' not in areas and 'void' not in areas
    notes = ' '.join(folder.notes)
    assert "'line' is no mask: 1 shape" in notes and 'under others' in notes


def test_shapes_are_cut_off_at_the_border():
    def mask_of(points):
        mask, (top, left) = rasterized([points], (10, 20), 'here')
        plane = np.zeros((10, 20), int)
        plane[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        return plane

    assert mask_of(rectangle(-5, -5, 3, 2)).sum() == 6
    assert mask_of(rectangle(18, 8, 30, 15)).sum() == 4
    assert mask_of(rectangle(25, 0, 30, 5)).sum() == 0
    turned = mask_of(rectangle(5, 2, 10, 4, 90))  # clockwise around its first corner
    assert turned[2:7, 3:5].all() and turned.sum() == 10
    assert mask_of(ellipse((10, 5), (4, 2), 90))[1:9, 10].all()


@pytest.mark.parametrize(
    ('name', 'text', 'values'),
    [
        ('classes.txt', 'sky\nroad\n', {0: 'sky', 1: 'road'}),
        ('labels.txt', '1: sky\n7: road', {1: 'sky', 7: 'road'}),
        ('classes.json', '["sky", "road"]', {0: 'sky', 1: 'road'}),
        ('classes.json', '{"sky": 3, "road": 4}', {3: 'sky', 4: 'road'}),
        ('classes.json', '[{"id": 2, "name": "sky", "isthing": 0}]', {2: 'sky'}),
        ('data.yaml', 'names: {0: sky, 1: road}', {0: 'sky', 1: 'road'}),
    ],
)
def test_names_of_classes(tmp_path, name, text, values):
    (tmp_path / name).write_text(text)
    assert read_class_names(Files(tmp_path)).of_values == values


def test_names_alone_begin_with_one_where_the_values_do(tmp_path):
    (tmp_path / 'classes.txt').write_text('sky\nroad\n')
    names = read_class_names(Files(tmp_path))
    assert names.shifted_to({0, 1, 2}) == {1: 'sky', 2: 'road'}
    assert names.shifted_to({0, 1}) == {0: 'sky', 1: 'road'}


# Faults -----------------------------------------------------------------------------------------


def changed(file, change):
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def masks_and(change):
    def make(data, scenes):
        write_masks(data, scenes)
        change(data, data / 'masks' / f'{scenes[0].name}.png', scenes)

    return make


def labelme_and(change):
    def make(data, scenes):
        write_labelme(data, scenes, embedded=False)
        changed(data / f'{scenes[0].name}.json', change)

    return make


def coco_and(change):
    def make(data, scenes):
        write_images(data / 'train', scenes)
        file = data / 'annotations/instances_train.json'
        write_coco_instances(file, scenes, polygons=True)
        changed(file, change)

    return make


def studio_and(change):
    def make(data, scenes):
        write_images(data / 'media', scenes)
        write_label_studio(data / 'export.json', scenes, minimal=False)
        changed(data / 'export.json', lambda tasks: change(tasks[0]['annotations'][0]['result'][0]))

    return make


def cvat_and(change):
    def make(data, scenes):
        write_images(data / 'images', scenes)
        write_cvat(data / 'annotations.xml', scenes, polygons=False)
        text = (data / 'annotations.xml').read_text()
        (data / 'annotations.xml').write_text(change(text))

    return make


def as_jpeg(data, mask, scenes):
    mask.unlink()
    Image.fromarray(instance_ids(scenes[0], np.uint8)).save(mask.with_suffix('.jpg'))


def renamed(data, mask, scenes):
    for k, file in enumerate(sorted(mask.parent.iterdir())):
        file.rename(file.with_name(f'other{k}.png'))


def half_numbers(data, mask, scenes):
    mask.unlink()
    Image.fromarray(np.full(scenes[0].size, 0.5, np.float32)).save(mask.with_suffix('.tif'))


def unnamed_value(data, mask, scenes):
    for scene in scenes:
        save(data / f'semantic/{scene.name}.png', np.full(scene.size, 7, np.uint8))
    (data / 'classes.txt').write_text('sky\nroad')


@pytest.mark.parametrize(
    ('make', 'words'),
    [
        (lambda data, scenes: data.mkdir(), 'has 0 images and no annotations'),
        (lambda data, scenes: write_images(data, scenes), 'has 4 images and no annotations'),
        (masks_and(lambda d, mask, s: save(mask, np.ones((9, 8), np.uint8))), 'is 8 x 9 pixels'),
        (masks_and(as_jpeg), 'is a JPEG, which changes the numbers'),
        (masks_and(renamed), 'no mask has the name of an image'),
        (masks_and(half_numbers), 'holds fractions'),
        (masks_and(lambda d, mask, s: mask.write_bytes(b'')), 'is empty'),
        (masks_and(lambda d, mask, s: mask.write_bytes(mask.read_bytes()[:99])), 'truncated'),
        (masks_and(lambda d, mask, s: save(d / f'images/{mask.stem}.jpg', s[0].pixels)),
         'a name of its own'),
        (masks_and(lambda d, mask, s: save(d / f'labels/{mask.name}', s[0].pixels)),
         'has two masks'),
        (masks_and(lambda d, mask, s: save(d / f'semantic/{mask.name}', s[0].pixels)), 'alone'),
        (masks_and(unnamed_value), 'has the value 7, which is no class in'),
        (masks_and(lambda d, mask, s: (d / 'classes.json').write_text('{')), 'classes.json cannot'),
        (masks_and(lambda d, mask, s: (d / 'classes.txt').write_text('a\nb')), 'names 2 classes'),
        (labelme_and(lambda c: c['shapes'][0].update(points=[[1e9, 0], [5, 5], [0, 9]])),
         'far outside of the image'),
        (labelme_and(lambda c: c['shapes'][0].update(points=[[1, 2], [5, 5]])), 'is no polygon'),
        (labelme_and(lambda c: c['shapes'][0].pop('label')), 'without "label"'),
        (labelme_and(lambda c: c.update(imageHeight=5)), 'its size in'),
        (coco_and(lambda c: c['annotations'][0].update(category_id=99)), '"category_id" 99'),
        (coco_and(lambda c: c['annotations'][0].update(image_id=99)), 'annotations of image 99'),
        (coco_and(lambda c: c['images'][0].update(file_name='b.png')), 'missing images: 1'),
        (coco_and(lambda c: c['annotations'][0].update(segmentation={})), None),
        (coco_and(lambda c: [a.pop('segmentation') for a in c['annotations'][1:]] + [
            c['annotations'][0].update(segmentation=[])]), "'box', which do not suffice"),
        (coco_and(lambda c: c['annotations'][0].update(
            segmentation=dict(size=[96, 96], counts=[5]))), 'do not sum'),
        (studio_and(lambda r: r['value'].update(rle=r['value']['rle'][:-2])), 'ends early'),
        (studio_and(lambda r: r.update(image_rotation=90)), 'turned image'),
        (cvat_and(lambda text: text[:400]), 'cannot be read as XML'),
        (cvat_and(lambda text: text.replace('rle="', 'rle="3, ', 1)), 'is damaged'),
        (cvat_and(lambda text: text.replace('<image ', '<track/><image ', 1)), 'CVAT for video'),
    ],
)  # fmt: skip
def test_a_fault_is_said_in_a_sentence(scenes, data, opened, make, words):
    make(data, scenes)
    if words is None:
        assert "'box' is no mask: 1 shape" in ' '.join(opened(**NONE).notes)
        return
    with pytest.raises(UserError) as said:
        opened(**NONE)
    assert words in str(said.value) and str(data) in str(said.value)


def test_what_has_no_partner_is_left_out_and_said(scenes, data, opened):
    write_masks(data, scenes)
    (data / f'masks/{scenes[0].name}.png').unlink()
    (data / f'images/{scenes[1].name}.png').unlink()
    notes = opened().notes
    assert f'no mask for it: 1 image ({scenes[0].name}.png)' in ' '.join(notes)
    assert f'no image for it: 1 mask ({scenes[1].name}.png)' in ' '.join(notes)


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (dict(stuff='sky'), "no class 'sky'"),
        (dict(background='object'), 'is a class of things'),
        (dict(layout='coco'), 'choose one of'),
        (dict(layout='cvat'), 'nothing of the layout cvat'),
        (dict(val_share=1), 'val_share is 1'),
    ],
)
def test_options_that_do_not_fit(scenes, data, opened, options, words):
    write_masks(data, scenes)
    with pytest.raises(UserError, match=words):
        opened(**options)


def test_void_around_things(scenes, data, opened):
    write_masks(data, scenes)
    folder = opened(background='void')
    read = {**read_back(folder.train), **read_back(folder.val)}
    things = {s.name: parts([('object', True, False, m) for _, m in s.things()]) for s in scenes}
    assert read == things
