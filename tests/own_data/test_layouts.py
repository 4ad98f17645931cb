"""Scenes in every layout come back with the same pixels in the same segments."""

import numpy as np
import pytest
from cmt_deeplab.coco_format import colors_of_ids
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
    write_cvat,
    write_images,
    write_label_studio,
    write_labelme,
)
from PIL import Image


@pytest.fixture(scope='module')
def scenes(shapes_root):
    return scenes_of(shapes_root)[:4]


@pytest.fixture(scope='module')
def classes(scenes):
    return sorted({name for scene in scenes for name, *_ in scene.segments})


@pytest.fixture
def opened(tmp_path):
    """Opens what was written into ``data``, and gives all that both splits hold, and the notes."""

    def open_it(**options):
        folder = open_data(tmp_path / 'data', out=tmp_path / 'out', **options)
        return {**read_back(folder.train), **read_back(folder.val)}, folder.notes

    return open_it


def stuff_of(scenes):
    return sorted({name for scene in scenes for name, thing, *_ in scene.segments if not thing})


def all_of(scenes):
    return {scene.name: parts(scene.segments) for scene in scenes}


def without_crowds(scenes):
    """As a tool gives them that has no crowds: every segment is one object."""
    return {s.name: parts([(n, t, False, m) for n, t, _, m in s.segments]) for s in scenes}


@pytest.mark.parametrize(
    ('image', 'instances', 'semantic'),
    [
        ('images/{}.png', 'instances/{}.png', 'semantic/{}.png'),
        ('JPEGImages/{}.png', 'SegmentationObject/{}.png', 'SegmentationClass/{}.png'),
        ('images/{}.png', 'masks/{}.tif', 'semantic/{}_semantic.png'),
        ('train/images/{}.png', 'train/masks/{}_instance.png', 'train/masks/{}_semantic.png'),
        ('{}.png', '{}_instance.png', '{}_class.png'),
        ('{}/image.png', '{}/instances.png', '{}/classes.png'),
    ],
)
def test_instance_masks_and_a_map_of_classes(
    scenes, classes, opened, tmp_path, image, instances, semantic
):
    for scene in scenes:
        save(tmp_path / 'data' / image.format(scene.name), scene.pixels)
        save(tmp_path / 'data' / instances.format(scene.name), instance_ids(scene))
        save(tmp_path / 'data' / semantic.format(scene.name), class_values(scene, classes))
    (tmp_path / 'data' / 'classes.txt').write_text('\n'.join(classes))
    read, notes = opened()
    assert read == all_of(scenes)
    assert 'one PNG for each image, and a map of classes' in notes[0]


@pytest.mark.parametrize(
    ('image', 'mask', 'dtype'),
    [
        ('images/{}.png', 'masks/{}.png', np.uint8),
        ('imgs/{}.png', 'labels/{}_label.tif', np.uint16),
        ('{}.png', '{}_cp_masks.png', np.uint16),
        ('images/img_{}.png', 'masks/mask_{}.tif', np.int32),
        ('a/{}.png', 'b/{}.png', np.uint8),
    ],
)
def test_instance_masks_alone(scenes, opened, tmp_path, image, mask, dtype):
    for scene in scenes:
        save(tmp_path / 'data' / image.format(scene.name), scene.pixels)
        save(tmp_path / 'data' / mask.format(scene.name), instance_ids(scene, dtype))
    read, notes = opened()
    expected = {scene.name: with_background(scene, 'object') for scene in scenes}
    assert {name.removeprefix('img_'): segments for name, segments in read.items()} == expected
    assert '4 images with instance masks, one PNG for each image' in notes[0]
    assert '--layout class-masks' in notes[2]
    assert "'object'" in notes[3]  # the name of the class is not known


@pytest.mark.parametrize('colored', ['rgb', 'palette', 'rgba'])
def test_ids_as_colors(scenes, opened, tmp_path, colored):
    write_images(tmp_path / 'data/images', scenes)
    for scene in scenes:
        file = tmp_path / 'data/instances' / f'{scene.name}.png'
        file.parent.mkdir(exist_ok=True)
        ids = instance_ids(scene, np.uint8)
        if colored == 'palette':
            image = Image.fromarray(ids, 'P')
            image.putpalette([7, 7, 7] * 128 + [9, 9, 9] * 128)  # the colors do not count
        else:
            image = Image.fromarray(colors_of_ids(ids.astype(np.uint32) * 70001))
        image.convert({'rgba': 'RGBA'}.get(colored, image.mode)).save(file)
    (tmp_path / 'data/classes.txt').write_text('_background_\ncell\n')
    assert opened()[0] == {scene.name: with_background(scene, 'cell') for scene in scenes}


@pytest.mark.parametrize(
    ('image', 'mask', 'named'),
    [
        ('{0}/images/{0}.png', '{0}/masks/5e3f{2}a.png', False),
        ('{0}/img.png', '{0}/mask_{2}.png', False),
        ('images/{0}.png', 'masks/{0}/{2}.png', False),
        ('images/{0}.png', 'masks/{0}/{1}_{2}.png', True),
        ('train/images/{0}.png', 'train/masks/{0}_{1}_{2}.png', True),
        ('images/{0}.png', 'masks/{1}/{0}_{2}.png', True),
        ('images/{0}.png', 'masks/{0}/{1}/{2}.png', True),
    ],
)
def test_a_mask_for_each_object(scenes, opened, tmp_path, image, mask, named):
    for scene in scenes:
        save(tmp_path / 'data' / image.format(scene.name), scene.pixels)
        for k, (name, pixels) in enumerate(scene.things()):
            file = tmp_path / 'data' / mask.format(scene.name, name, k)
            save(file, pixels.astype(np.uint8) * 255)
    read, notes = opened()
    expected = {scene.name: with_background(scene, None if named else 'object') for scene in scenes}
    assert sorted(read.values()) == sorted(expected.values())
    assert 'one PNG for each object' in notes[0]


def test_a_mask_for_each_object_and_a_map_of_classes(scenes, classes, opened, tmp_path):
    write_images(tmp_path / 'data/images', scenes)
    for scene in scenes:
        save(tmp_path / f'data/semantic/{scene.name}.png', class_values(scene, classes))
        for k, (_, pixels) in enumerate(scene.things()):
            save(tmp_path / f'data/masks/{scene.name}/{k}.png', pixels.astype(np.uint8))
    (tmp_path / 'data/classes.txt').write_text('\n'.join(classes))
    read, notes = opened()
    assert read == all_of(scenes)
    assert 'one PNG for each object, and a map of classes' in notes[0]


def test_a_mask_of_one_value(scenes, opened, tmp_path):
    write_images(tmp_path / 'data/images', scenes)
    ids = np.zeros(scenes[0].size, np.uint8)
    ids[3:20, 5:30] = ids[40:60, 50:51] = 255
    for scene in scenes:
        save(tmp_path / 'data/masks' / f'{scene.name}.png', ids)
    read, notes = opened()
    assert [len(segments) for segments in read.values()] == [3] * 4
    assert 'each connected region' in notes[0]


@pytest.mark.parametrize('semantic', [True, False])  # the name of the folder
def test_a_map_of_classes_alone(scenes, classes, opened, tmp_path, semantic):
    write_images(tmp_path / 'data/images', scenes)
    for scene in scenes:
        file = tmp_path / 'data' / ('semantic' if semantic else 'masks') / f'{scene.name}.png'
        save(file, class_values(scene, classes))
    dump(tmp_path / 'data/classes.json', {name: k + 1 for k, name in enumerate(classes)})
    with pytest.raises(UserError, match='--stuff'):
        opened()
    read, notes = opened(stuff=','.join(classes))
    joined = {s.name: parts([(n, False, False, m) for n, _, _, m in s.segments]) for s in scenes}
    assert read == joined
    assert 'a map of classes' in notes[0]


@pytest.mark.parametrize('polygons', [True, False])
def test_coco_instances(scenes, opened, tmp_path, polygons):
    write_images(tmp_path / 'data/train2017', scenes)
    file = tmp_path / 'data/annotations/instances_train2017.json'
    write_coco_instances(file, scenes, polygons=polygons)
    read, notes = opened()
    assert read == {scene.name: with_background(scene, crowds=True) for scene in scenes}
    assert 'instances_train2017.json' in notes[0]


@pytest.mark.parametrize('embedded', [True, False])
def test_labelme(scenes, opened, tmp_path, embedded):
    write_labelme(tmp_path / 'data', scenes, embedded=embedded)
    read, notes = opened(stuff=stuff_of(scenes))
    assert read == without_crowds(scenes)
    assert 'labeled in LabelMe' in notes[0]


@pytest.mark.parametrize('polygons', [True, False])
def test_cvat_for_images(scenes, opened, tmp_path, polygons):
    write_images(tmp_path / 'data/images', scenes)
    write_cvat(tmp_path / 'data/annotations.xml', scenes, polygons=polygons)
    read, notes = opened(ask=lambda names: [n for n in names if n in stuff_of(scenes)])
    assert read == without_crowds(scenes)
    assert 'labeled in CVAT' in notes[0]


@pytest.mark.parametrize('minimal', [True, False])
def test_label_studio(scenes, opened, tmp_path, minimal):
    write_images(tmp_path / 'data/media', scenes)
    write_label_studio(tmp_path / 'data/project-1.json', scenes, minimal=minimal)
    read, notes = opened(stuff=stuff_of(scenes))
    assert read == without_crowds(scenes)
    assert 'labeled in Label Studio' in notes[0]
