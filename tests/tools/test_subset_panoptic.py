"""Cutting a panoptic data set down and merging its classes."""

import json

import cv2
import numpy as np
import pytest
from cmt_deeplab.coco_format import read_id_plane
from cmt_deeplab.doctor import examine
from run_tool import run_tool
from small_panoptic import change_json, folder_of, plane_of_ids, write_panoptic

TOOL = 'misc/subset_panoptic.py'


@pytest.fixture
def root(tmp_path):
    return write_panoptic(tmp_path / 'data')


def cut(root, *options, splits=('train', 'val')):
    """The folder that the tool has written."""
    files = [root / f'annotations/panoptic_{split}2017.json' for split in splits]
    out = root.parent / 'out'
    done = run_tool(TOOL, *files, out, *options)
    assert done.returncode == 0, done.stderr
    return out


def content_of(root, split='train'):
    return json.loads((root / f'annotations/panoptic_{split}2017.json').read_text())


def segments_by_class(root, split='train'):
    """The segments of the first image by the name of their class, checked against the PNG."""
    content = content_of(root, split)
    names = {category['id']: category['name'] for category in content['categories']}
    annotation = content['annotations'][0]
    png = root / f'annotations/panoptic_{split}2017' / annotation['file_name']
    plane, by_class = read_id_plane(str(png)), {}
    for segment in annotation['segments_info']:
        y, x = np.nonzero(plane == segment['id'])
        box = [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
        assert segment['area'] == len(x) and segment['bbox'] == box
        by_class.setdefault(names[segment['category_id']], []).append(segment['area'])
    listed = {segment['id'] for segment in annotation['segments_info']}
    assert {*np.unique(plane).tolist()} <= listed | {0}
    return by_class


def merge_map(root, **groups):
    path = root.parent / 'map.json'
    path.write_text(json.dumps(groups))
    return path


def test_merged_stuff_is_one_segment_and_merged_things_stay_apart(root):
    groups = dict(surface=['tissue', 'glass'], animal=['cell', 'worm'])
    out = cut(root, '--merge', merge_map(root, **groups))
    of_class = segments_by_class(out)
    assert of_class == dict(surface=[48 * 64 - 360], animal=[120, 120, 120])
    kinds = {c['name']: (c['isthing'], c['id']) for c in content_of(out)['categories']}
    assert kinds == dict(animal=(1, 1), surface=(0, 3))
    assert {finding.severity for finding in examine(folder_of(out))} == {'note'}


def test_things_and_stuff_of_one_name_are_two_classes(root):
    out = cut(root, '--merge', merge_map(root, body=['cell', 'tissue', 'glass']))
    assert set(segments_by_class(out)) == {'body', 'body-stuff', 'worm'}


def test_merged_crowds_are_one_segment(root):
    def crowds(content):
        for segment in content['annotations'][0]['segments_info']:
            segment['iscrowd'] = int(segment['id'] in (301, 302))

    change_json(root, crowds)
    out = cut(root, '--merge', merge_map(root, animal=['cell', 'worm']))
    assert segments_by_class(out)['animal'] == [240, 120]


def test_supercategories(root):
    names = dict(zip((1, 2, 3, 4), ('life', 'life', 'life', None)))

    def name_them(content):
        for category in content['categories']:
            if names[category['id']]:
                category['supercategory'] = names[category['id']]

    for split in ('train', 'val'):
        change_json(root, name_them, split)
    out = cut(root, '--supercategories')
    assert segments_by_class(out) == dict(
        life=[120, 120, 120], **{'life-stuff': [1536 - 100]}, glass=[1536 - 260]
    )


def test_classes_that_are_left_out_become_void(root):
    def without_worm(content):
        content['annotations'][1]['segments_info'].pop(-1)

    plane = plane_of_ids()
    change_json(root, without_worm)
    png = root / 'annotations/panoptic_train2017/2.png'
    pixels = cv2.imread(str(png))
    pixels[plane == 70000] = 0
    cv2.imwrite(str(png), pixels)
    out = cut(root, '--classes', 'worm')
    assert segments_by_class(out) == dict(worm=[120])
    assert [image['id'] for image in content_of(out)['images']] == [1, 3]  # 2 has no worm
    assert [category['name'] for category in content_of(out)['categories']] == ['worm']


def test_images_are_chosen_by_seed_and_linked_and_untouched_pngs_too(root):
    out = cut(root, '--images', 2, splits=['train'])
    files = sorted((out / 'train2017').iterdir())
    assert len(files) == 2 and all(file.is_symlink() for file in files)
    assert all(file.is_symlink() for file in (out / 'annotations/panoptic_train2017').iterdir())
    chosen = [image['file_name'] for image in content_of(out)['images']]
    assert chosen == [file.name for file in files]


def test_copies(root):
    out = cut(root, '--copy', '--images', 1)
    assert not any(path.is_symlink() for path in out.rglob('*'))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--classes', 'cells'], "names 'cells', which is no class of the data (is 'cell' meant?)"),
        (['--images', 0], 'at least 1'),
        (['--img-dir', 'nothing'], 'one folder for each'),
        (['--merge', 'nothing.json'], 'cannot be read'),
    ],
)
def test_wrong_options(root, options, message):
    files = [root / f'annotations/panoptic_{split}2017.json' for split in ('train', 'val')]
    done = run_tool(TOOL, *files, root.parent / 'out', *options)
    assert done.returncode == 1 and message in done.stderr


def test_a_folder_in_use(root):
    done = run_tool(TOOL, root / 'annotations/panoptic_val2017.json', root)
    assert done.returncode == 1 and 'is not empty' in done.stderr


def test_coco_has_27_supercategories(real_data, tmp_path):
    done = run_tool(
        TOOL,
        real_data / 'coco/annotations/panoptic_val2017.json',
        tmp_path / 'out',
        '--supercategories',
        '--images',
        3,
    )
    assert '27 classes (12 of things, 15 of stuff)' in done.stdout
