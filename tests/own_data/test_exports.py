"""Irregularities of the exports of tools, and masks that could be taken for something else."""

import base64
import io
import json
import shutil
import zlib
from contextlib import nullcontext
from functools import partial

import cv2
import numpy as np
import pytest
from cmt_deeplab.errors import UserError
from cmt_deeplab.own_data import open_data
from layout_writers import (
    class_values,
    dump,
    instance_ids,
    parts,
    read_back,
    save,
    scenes_of,
    with_background,
    write_coco_instances,
    write_images,
    write_label_studio,
)
from PIL import Image
from pycocotools import mask as coco_mask


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


@pytest.fixture
def organs(scenes, data):
    """Six images, each with the values 1 and 3, and some with 2."""
    for k in range(6):
        plane = np.zeros((40, 60), np.uint8)
        for value in (1, 3) if k % 2 else (1, 2, 3):
            plane[10 * value : 10 * value + 5 + k, 5:20] = value
        save(data / f'images/{k}.png', np.random.default_rng(k).integers(0, 255, (40, 60, 3), 'u1'))
        save(data / f'masks/{k}.png', plane)


@pytest.mark.parametrize('layout', ['class-masks', 'instance-masks'])
def test_values_that_are_the_same_in_most_images_may_be_classes(organs, opened, layout):
    with pytest.raises(UserError, match=f'values 1, 2, 3, and most images.*--layout {layout}'):
        opened()
    folder = opened(layout=layout, stuff='none', background='void', val_share=0)
    names = {part[0] for parts in read_back(folder.train).values() for part in parts}
    classes = {'class_1', 'class_2', 'class_3'}
    assert names == (classes if layout == 'class-masks' else {'object'})


def test_names_with_commas_can_be_stuff(organs, data, opened):
    (data / 'classes.txt').write_text('1: liver\n2: door,gate, fence\n3: sky')
    folder = opened(stuff='door, gate, fence,sky')
    assert "Things: liver; stuff: 'door,gate, fence', sky;" in folder.notes[1]
    with pytest.raises(UserError, match="no class 'gate'"):
        opened(stuff='gate, fence')


def test_data_of_nnunet(organs, data, opened):
    for file in (data / 'images').iterdir():
        save(data / f'imagesTr/{file.stem}_0000.png', np.asarray(Image.open(file)))
    shutil.rmtree(data / 'images')
    (data / 'masks').rename(data / 'labelsTr')
    dump(data / 'dataset.json', dict(labels=dict(background=0, liver=1, heart=2, lung=3)))
    assert 'Things: liver, heart, lung; stuff: background;' in opened(stuff='none').notes[1]
    save(data / 'imagesTr/0_0001.png', np.zeros((40, 60), np.uint8))
    with pytest.raises(UserError, match='write its channels into one file'):
        opened(stuff='none')


def test_a_class_with_one_object_in_each_image_may_be_stuff(scenes, data, opened):
    """As in instance maps that number everything; the user is told of it."""
    for k, scene in enumerate(scenes):
        ids, classes = instance_ids(scene), np.zeros(scene.size, np.uint8)
        classes[ids > 0] = 1
        classes[ids == 0], ids[ids == 0] = 2, 99
        save(data / f'images/{k}.png', scene.pixels)
        save(data / f'instances/{k}.png', ids)
        save(data / f'semantic/{k}.png', classes)
    (data / 'classes.txt').write_text('1: cell\n2: sky')
    assert 'No image has two objects of sky: give --stuff with what is no thing.' in opened().notes


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('objectInfo150.txt', 'ADE20K: convert it by tools/dataset_converters/ade20k_panoptic.py'),
        ('gtFine/a_gtFine_labelIds.png', 'cityscapes_panoptic.py'),
        ('task-1-annotation-2-by-1-tag-cell-0.png', 'which do not name images: export JSON'),
        ('labels.geojson', 'no annotations that are known in its files .geojson'),
    ],
)
def test_what_is_not_read_names_the_way(scenes, data, opened, name, words):
    write_images(data / 'images', scenes)
    (data / name).parent.mkdir(exist_ok=True)
    (data / name).write_text('')
    with pytest.raises(UserError, match=words):
        opened()


def test_values_that_lie_in_several_places_are_no_numbers_of_objects(scenes, data, opened):
    write_images(data / 'images', scenes)
    for scene in scenes:
        plane = 255 * (instance_ids(scene) > 0).astype(np.uint8)
        save(data / f'masks/{scene.name}.png', cv2.GaussianBlur(plane, (3, 3), 0))
    with pytest.raises(UserError, match='in several places of an image.*--layout.*blurred'):
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
    assert "Left out, as 'box' is no mask: 4 shapes." in opened().notes


# Two images of 60 x 40 pixels with boxes (left, top, right, bottom) of two classes; the first has a
# hole in formats that have holes.
BOXES = {'a': [('cell', 5, 5, 20, 20), ('dot', 30, 8, 40, 30)], 'b': [('cell', 2, 3, 9, 33)]}
HOLE = 8, 8, 12, 12


def corners(left, top, right, bottom):
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def via(folder, *, version):
    content = {}
    for name, boxes in BOXES.items():
        regions = [
            dict(
                shape_attributes=dict(name='rect', x=x, y=y, width=r - x, height=b - y)
                if label == 'dot'
                else dict(
                    name='polygon',
                    all_points_x=[p[0] for p in corners(x, y, r, b)],
                    all_points_y=[p[1] for p in corners(x, y, r, b)],
                ),
                region_attributes=dict(note='', kind=label if version == 2 else {label: True}),
            )
            for label, x, y, r, b in boxes
        ]
        regions = regions if version == 2 else {str(k): r for k, r in enumerate(regions)}
        content[f'{name}.png99'] = dict(filename=f'{name}.png', size=99, regions=regions)
    dump(folder / 'via.json', dict(_via_img_metadata=content) if version == 2 else content)


def supervisely(folder):
    for name, boxes in {**BOXES, 'empty': []}.items():
        objects = []
        for label, *box in boxes:
            left, top, right, bottom = box
            points = dict(  # pixels of the object and of the hole
                exterior=corners(left, top, right - 1, bottom - 1),
                interior=[corners(8, 8, 11, 11)] if name == 'a' else [],
            )
            shape = dict(geometryType='polygon', points=points)
            if label == 'dot':
                file = io.BytesIO()
                Image.new('1', (box[2] - box[0], box[3] - box[1]), 1).save(file, 'PNG')
                data = base64.b64encode(zlib.compress(file.getvalue())).decode()
                shape = dict(geometryType='bitmap', bitmap=dict(data=data, origin=box[:2]))
            objects.append(dict(shape, classTitle=label))
        dump(folder / f'ann/{name}.png.json', dict(objects=objects, size=dict(height=40, width=60)))
    dump(folder / 'meta.json', dict(classes=[dict(title='cell', shape='any')]))


def datumaro(folder):
    items = []
    for name, boxes in BOXES.items():
        annotations = []
        for label, *box in boxes:
            shape = dict(type='polygon', points=np.ravel(corners(*box)).tolist())
            if label == 'dot':
                mask = np.zeros((40, 60), np.uint8, order='F')
                mask[box[1] : box[3], box[0] : box[2]] = 1
                runs = coco_mask.encode(mask)
                shape = dict(type='mask', rle=dict(runs, counts=runs['counts'].decode()))
            annotations.append(dict(shape, label_id=int(label == 'dot'), group=0, z_order=0))
        items.append(dict(id=name, annotations=annotations, image=dict(path='', size=[40, 60])))
    labels = dict(labels=[dict(name='cell'), dict(name='dot')])
    dump(folder / 'annotations/default.json', dict(categories=dict(label=labels), items=items))


def imagescope(folder):
    for name, boxes in BOXES.items():
        layers = ''.join(
            f'<Annotation Name="{label}"><Regions><Region><Vertices>'
            + ''.join(f'<Vertex X="{x}.0" Y="{y}.0"/>' for x, y in corners(*box))
            + '</Vertices></Region></Regions></Annotation>'
            for label, *box in boxes
        )
        (folder / f'{name}.xml').write_text(f'<Annotations>{layers}</Annotations>')


@pytest.mark.parametrize(
    ('write', 'tool'),
    [
        (partial(via, version=1), 'VIA'),
        (partial(via, version=2), 'VIA'),
        (supervisely, 'Supervisely'),
        (datumaro, 'Datumaro'),
        (imagescope, 'ImageScope'),
    ],
)
def test_the_files_of_a_tool(data, opened, write, tool):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    for name in (*BOXES, *(['empty'] if tool == 'Supervisely' else [])):
        save(data / f'img/{name}.png', pixels)
    write(data)
    folder = opened(stuff='none', val_share=0)
    assert f'labeled in {tool}' in folder.notes[0]
    read = read_back(folder.train)
    for name, boxes in BOXES.items():
        segments = []
        for label, left, top, right, bottom in boxes:
            mask = np.zeros((40, 60), bool)
            mask[top:bottom, left:right] = True
            if tool == 'Supervisely' and (name, label) == ('a', 'cell'):
                mask[8:12, 8:12] = False
            segments.append((label, True, False, mask))
        rest = ~np.any([mask for *_, mask in segments], axis=0)
        assert read[name] == parts([*segments, ('background', False, False, rest)])


def test_an_image_that_is_annotated_twice_and_the_category_that_roboflow_adds(scenes, data, opened):
    write_images(data / 'train', scenes)
    file = data / 'train/_annotations.coco.json'
    write_coco_instances(file, scenes, polygons=False)
    content = json.loads(file.read_text())
    for category in content['categories']:
        category['supercategory'] = 'project'
    content['categories'].append(dict(id=99, name='project', supercategory='none'))
    file.write_text(json.dumps(content))
    assert 'project' not in opened().notes[1]
    file.with_name('person_keypoints_train.json').write_text(file.read_text())
    assert opened().train
    file.with_name('again.json').write_text(file.read_text())
    with pytest.raises(UserError, match=r'twice, in .*_annotations.coco.json and in .*again'):
        opened()
    file.with_name('again.json').unlink()
    file.write_text(json.dumps(dict(content, images=[*content['images'], content['images'][0]])))
    with pytest.raises(UserError, match=r'coco.json lists .* twice: take one'):
        opened()


def test_an_image_of_yolo_without_a_text_file_shows_no_object(scenes, data, opened):
    write_images(data / 'images', scenes)
    (data / 'labels').mkdir()
    for scene in scenes[1:]:
        (data / f'labels/{scene.name}.txt').write_text('0 0.2 0.2 0.5 0.2 0.5 0.7')
    (data / 'data.yaml').write_text('names: [cell]')
    folder = opened(val_share=0)
    assert [p[0] for p in read_back(folder.train)[scenes[0].name]] == ['background']
    assert f'no text file for it: 1 image ({scenes[0].name}.png)' in ' '.join(folder.notes)


def test_a_rectangle_of_supervisely_has_the_pixels_of_its_corners(data, opened):
    save(data / 'img/a.png', np.full((40, 60, 3), 9, np.uint8))
    shape = dict(
        geometryType='rectangle', classTitle='cell', points=dict(exterior=[[5, 4], [9, 6]])
    )
    dump(data / 'ann/a.png.json', dict(objects=[shape], size=dict(height=40, width=60)))
    inside = np.zeros((40, 60), bool)
    inside[4:7, 5:10] = True
    assert (
        parts([('cell', True, False, inside)])[0]
        in read_back(opened(stuff='none', val_share=0).train)['a']
    )


def yolo_line(shift: float) -> str:
    return f'0 {shift} 0.2 {shift + 0.3} 0.2 {shift + 0.3} 0.7\n'


def test_text_files_of_yolo_belong_to_the_images_of_their_folders(scenes, data, opened):
    """Images of the same names lie in both splits, and in a folder without text files."""
    for split, shift in (('train', 0.1), ('val', 0.4)):
        write_images(data / f'images/{split}', scenes[:2])
        (data / f'labels/{split}').mkdir(parents=True)
        for scene in scenes[:2]:
            (data / f'labels/{split}/{scene.name}.txt').write_text(yolo_line(shift))
    write_images(data / 'unlabeled', scenes[:2])
    (data / 'data.yaml').write_text('names: [cell]')
    folder = opened()
    assert names_in(folder.train) == {f'train/{s.name}.png' for s in scenes[:2]}
    assert names_in(folder.val) == {f'val/{s.name}.png' for s in scenes[:2]}
    assert 'no annotation names it: 2 images' in ' '.join(folder.notes)
    areas = [
        [mask for name, _, _, mask in segments if name == 'cell']
        for split in (folder.train, folder.val)
        for segments in read_back(split).values()
    ]
    assert areas[0] != areas[2]


@pytest.mark.parametrize(
    'categories, said',
    [
        ([dict(id=1, name='x'), dict(id=1, name='z')], "'x' and 'z' with the id 1"),
        ([dict(id=k, name=' ') for k in range(9)], 'without a name: add it'),
    ],
)
def test_categories_of_coco_that_cannot_be_told_apart(scenes, data, opened, categories, said):
    file = data / 'instances.json'
    write_images(data, scenes)
    write_coco_instances(file, scenes, polygons=True)
    dump(file, dict(json.loads(file.read_text()), categories=categories))
    with pytest.raises(UserError, match=said):
        opened()


def test_a_file_of_coco_without_annotations_shows_no_object(scenes, data, opened):
    for split, part in (('train', scenes[:3]), ('valid', scenes[3:])):
        file = data / split / '_annotations.coco.json'
        write_images(file.parent, part)
        write_coco_instances(file, part, polygons=True)
    content = json.loads(file.read_text())
    dump(file, dict(content, annotations=[]))
    folder = opened()
    assert [[p[0] for p in s] for s in read_back(folder.val).values()] == [['background']]


def test_the_class_of_via_is_what_one_chooses(data, opened):
    save(data / 'a.png', np.full((40, 60, 3), 9, np.uint8))
    region = lambda number, x, **more: dict(
        shape_attributes=dict(name='rect', x=x, y=5, width=10, height=10),
        region_attributes=dict(id=str(number), **more),
    )
    for further, known in (
        (dict(type='cell'), {}),
        (dict(sort='cell'), dict(type='dropdown')),
        (dict(sort='dim', label='cell'), dict(type='radio')),
        (dict(name='not_defined', type='cell'), {}),
    ):
        regions = [region(k, 20 * k, **further) for k in range(2)]
        attributes = dict(region=dict(id=dict(type='text'), sort=known))
        images = dict(a=dict(filename='a.png', size=1, regions=regions))
        dump(data / 'via.json', dict(_via_img_metadata=images, _via_attributes=attributes))
        assert 'Things: cell;' in opened(stuff='none', val_share=0).notes[1]


def test_names_of_images_behind_a_signature(scenes, data, opened):
    file = data / 'export.json'
    write_images(data, scenes)
    write_label_studio(file, scenes, minimal=True)
    tasks = json.loads(file.read_text())
    for task in tasks:
        task['image'] = f'https://bucket.host{task["image"]}?X-Signature=a%2Fb&Expires=1'
    dump(file, tasks)
    assert len(read_back(opened(stuff='none', val_share=0).train)) == len(scenes)


def test_images_of_one_name_in_two_subsets_of_cvat(data, opened):
    entries = []
    for left, subset in enumerate(('train', 'validation')):
        save(data / f'images/{subset}/a.png', np.full((40, 60, 3), 9, np.uint8))
        box = f'<box label="cell" xtl="{left}" ytl="0" xbr="9" ybr="9"/>'
        entries.append(
            f'<image name="a.png" subset="{subset}" width="60" height="40">{box}</image>'
        )
    (data / 'annotations.xml').write_text(f'<annotations>{"".join(entries)}</annotations>')
    folder = opened(stuff='none')
    assert names_in(folder.train) == {'train/a.png'}
    assert names_in(folder.val) == {'validation/a.png'}
    masks = [dict((p[0], p[3]) for p in read_back(s)['a']) for s in (folder.train, folder.val)]
    assert masks[0]['cell'] != masks[1]['cell']


@pytest.mark.parametrize(
    'images, texts, labeled',
    [
        (['pics/1/a', 'pics/2/a'], ['txts/1/a'], ['a']),
        (['pics/1/a', 'pics/2/a'], ['txts/1/a', 'txts/2/a'], ['1/a', '2/a']),
        (['images/train/a', 'images/val/a'], ['labels/a'], None),
        (['photos/a', 'thumbs/a'], ['txt/a'], None),
        (['images/train/b', 'images/val/a'], ['labels/train/a', 'labels/train/b'], ['b']),
        (['images/a'], ['labels/a', 'images/a'], ['a']),
    ],
)
def test_whose_text_file_it_is(data, opened, images, texts, labeled):
    for name in images:
        save(data / f'{name}.png', np.full((40, 60, 3), len(name), np.uint8))
    for name in texts:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        is_caption = name.startswith('images')
        (data / f'{name}.txt').write_text('a cat' if is_caption else yolo_line(0.1))
    (data / 'data.yaml').write_text('names: [cell]')
    if labeled is None:
        with pytest.raises(UserError, match=r'\.txt may be of .*\.png or of .*\.png'):
            opened(val_share=0)
    else:
        names = names_in(opened(val_share=0).train)
        assert sorted(names) == [f'{name}.png' for name in labeled]


@pytest.mark.parametrize(
    'content',
    [
        dict(annotations=[]),
        dict(images=[], categories={}, annotations=[], items=[]),
        dict(images=[dict(id=1, file_name='0.png')], categories=[], annotations=[]),
    ],
)
def test_a_json_without_annotations_is_none_of_coco_without_others(scenes, data, opened, content):
    for scene in scenes:
        save(data / f'images/{scene.name}.png', scene.pixels)
        save(data / f'masks/{scene.name}.png', instance_ids(scene))
    dump(data / 'project.json', content)
    assert 'instance masks' in opened(layout=None, val_share=0).notes[0]


@pytest.mark.parametrize(
    'ring, said',
    [
        ([[5, 40], [9, 40], [9, 45]], None),  # below the image, as each pixel of it
        ([[5, 4], [9, 4], [float('nan'), 6]], 'no numbers'),
        ([[5, 4], [5000, 4], [5000, 6]], 'far outside'),
        ([[5, 4], [9, 4]], 'fewer than three points'),
        ([], 'fewer than three points'),
    ],
)
def test_polygons_of_supervisely_that_cannot_be_drawn(data, opened, ring, said):
    save(data / 'img/a.png', np.full((40, 60, 3), 9, np.uint8))
    good = dict(exterior=[[5, 4], [9, 4], [9, 6]], interior=[[]])
    objects = [
        dict(geometryType='polygon', classTitle='cell', points=points)
        for points in (good, dict(exterior=ring, interior=[]))
    ]
    dump(data / 'ann/a.png.json', dict(objects=objects, size=dict(height=40, width=60)))
    with pytest.raises(UserError, match=said) if said else nullcontext():
        assert any(
            'outside of its image' in note for note in opened(stuff='none', val_share=0).notes
        )
