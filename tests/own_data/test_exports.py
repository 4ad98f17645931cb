"""Irregularities of the exports of tools, and masks that could be taken for something else."""

import json

import cv2
import numpy as np
import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.own_data import open_data
from layout_writers import (
    class_values,
    instance_ids,
    read_back,
    save,
    scenes_of,
    with_background,
    write_coco_instances,
    write_images,
)


@pytest.fixture(scope='module')
def scenes(shapes_root):
    return scenes_of(shapes_root)[:4]


@pytest.fixture
def data(tmp_path):
    return tmp_path / 'data'


@pytest.fixture
def opened(data, tmp_path):
    return lambda **options: open_data(data, out=tmp_path / 'out', **options)


def names_in(split):
    return {image['file_name'] for image in json.loads(split.ann_file.read_text())['images']}


def test_the_masks_that_cvat_writes_as_coco_are_objects_and_no_crowds(scenes, data, opened):
    write_images(data / 'images/default', scenes)
    file = data / 'annotations/instances_default.json'
    write_coco_instances(file, scenes, polygons=False)
    content = json.loads(file.read_text())
    for annotation in content['annotations']:
        annotation.update(iscrowd=1, attributes=dict(occluded=False))
    file.write_text(json.dumps(content))
    folder = opened()
    for split in (folder.train, folder.val):
        annotations = json.loads(split.ann_file.read_text())['annotations']
        assert not any(s['iscrowd'] for a in annotations for s in a['segments_info'])


@pytest.mark.parametrize(
    ('name', 'header', 'line'),
    [
        ('_classes.csv', 'Pixel Value, Class\n', '{value}, {name}\n'),
        ('class_dict.csv', 'name, r, g, b\n', '{name}, {red}, 0, 9\n'),
    ],
)
def test_classes_of_a_table(scenes, data, opened, name, header, line):
    classes = sorted({name for scene in scenes for name, *_ in scene.segments})
    values = [*enumerate(classes, start=1)]
    lines = [line.format(value=v, name=n, red=20 * v) for v, n in [(0, 'void'), *values]]
    (data / 'train').mkdir(parents=True)
    (data / 'train' / name).write_text(header + ''.join(lines))
    for scene in scenes:
        plane = class_values(scene, classes)
        if '{red}' in line:
            plane = np.stack([20 * plane, 0 * plane, np.full_like(plane, 9)], axis=-1)
        save(data / f'train/{scene.name}.jpg', scene.pixels)
        save(data / f'train/{scene.name}_mask.png', plane)
    folder = opened(stuff='none')
    assert 'a map of classes' in folder.notes[0]
    found = {part[0] for parts in read_back(folder.train).values() for part in parts}
    assert found <= {*classes} and len(found) > 2


def test_values_that_lie_in_several_places_are_no_numbers_of_objects(scenes, data, opened):
    write_images(data / 'images', scenes)
    for scene in scenes:
        plane = 255 * (instance_ids(scene) > 0).astype(np.uint8)
        save(data / f'masks/{scene.name}.png', cv2.GaussianBlur(plane, (3, 3), 0))
    with pytest.raises(UserError, match='in several places of an image.*blurred'):
        opened()


@pytest.mark.parametrize(
    ('image', 'mask'),
    [
        ('images/{}.png', 'labels/{}_L.png'),
        ('training/images/{}.png', 'training/v1.2/labels/{}.png'),
        ('lung/tissue images/{}.png', 'lung/label masks/{}.tif'),
    ],
)
def test_what_is_the_same_in_all_names_tells_nothing(scenes, data, opened, image, mask):
    for scene in scenes:
        save(data / image.format(scene.name), scene.pixels)
        save(data / mask.format(scene.name), instance_ids(scene))
    folder = opened()
    read = {**read_back(folder.train), **read_back(folder.val)}
    assert read == {scene.name: with_background(scene, 'object') for scene in scenes}


def test_the_splits_of_lists(scenes, data, opened):
    write_images(data / 'JPEGImages', scenes, suffix='.jpg')
    for scene in scenes:
        save(data / f'SegmentationObject/{scene.name}.png', instance_ids(scene, np.uint8))
    names = [scene.name for scene in scenes]
    (data / 'ImageSets').mkdir()
    (data / 'ImageSets/train.txt').write_text('\ufeff' + '\r\n'.join(names[2:]))
    (data / 'ImageSets/val.txt').write_text('\n'.join(names[:2]))
    assert names_in(opened().val) == {f'{name}.jpg' for name in names[:2]}


def test_boxes_and_a_byte_order_mark_in_files_of_yolo(scenes, data, opened):
    write_images(data / 'images', scenes)
    (data / 'labels').mkdir()
    for scene in scenes:
        lines = '\ufeff0 0.2 0.2 0.5 0.2 0.5 0.7\r\n0 0.5 0.5 0.1 0.1\r\n'
        (data / f'labels/{scene.name}.txt').write_text(lines)
    (data / 'classes.txt').write_text('cell')
    assert 'Left out, as it is a box without a mask: 4 lines.' in opened().notes
