"""Public data sets in their own formats become COCO panoptic data that the base configs read."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from cmt_deeplab.doctor import examine
from cmt_deeplab.own_data import PanopticFolder, PanopticSplit
from mmdet.registry import DATASETS
from mmengine.config import Config
from run_tool import run_tool
from small_panoptic import plane_of_ids, write_panoptic

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'
SIZE = 48, 64


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_image(path):
    generator = np.random.default_rng(list(str(path).encode()))
    write(path, generator.integers(0, 256, (*SIZE, 3), np.uint8))


def truth_of(config, root, split='train'):
    """The plane and the segments that the base config reads of the first image of a split."""
    whole = Config.fromfile(str(CONFIGS / config))
    dataset = whole[f'{split}_dataloader'].dataset
    dataset.update(data_root=f'{root}/', pipeline=whole.load)
    built = DATASETS.build(dataset)
    sample = built[0]
    names = [built.metainfo['classes'][s['label']] for s in sample['gt_segments_info']]
    return sample['gt_index_map'], sample['gt_segments_info'], names


def fine(root, train, val, images):
    """The doctor finds nothing but notes."""
    splits = [
        PanopticSplit(name, root / f'{name}.json', root / folder, root / name)
        for name, folder in zip((train, val), images)
    ]
    findings = examine(PanopticFolder(root, *splits))
    return {finding.severity for finding in findings} <= {'note'} or findings


@pytest.fixture
def ade20k(tmp_path):
    """A wall (1) with a sky (3), on them two beds (thing 1) and a person (4); a bed uncounted."""
    for folder in ('training', 'validation'):
        name = f'ADE_{folder}_00000001'
        write_image(tmp_path / 'images' / folder / f'{name}.jpg')
        semantic = np.full(SIZE, 1, np.uint8)
        semantic[:20] = 3
        semantic[30:, :40] = 8  # beds
        semantic[22:28, 50:60] = 13  # a person
        semantic[0, 0] = 0
        instances = np.zeros((*SIZE, 3), np.uint8)  # B, G, R: nothing, number, class
        instances[30:, :10] = 0, 1, 1
        instances[30:, 10:20] = 0, 2, 1
        instances[22:28, 50:60] = 0, 3, 4
        write(tmp_path / 'annotations' / folder / f'{name}.png', semantic)
        write(tmp_path / 'annotations_instance' / folder / f'{name}.png', instances)
    return tmp_path


def test_ade20k(ade20k):
    done = run_tool('dataset_converters/ade20k_panoptic.py', ade20k)
    assert done.returncode == 0 and '1 images, 5 segments, 150 classes' in done.stdout
    plane, segments, names = truth_of('ade20k_panoptic_index.py', ade20k)
    assert sorted(names) == ['bed', 'bed', 'person', 'sky', 'wall']
    areas = {name: (plane == k).sum() for k, name in enumerate(names)}
    assert areas['person'] == 60 and areas['sky'] == 20 * 64 - 1
    assert (plane < 0).sum() == 1 + 18 * 20  # black, and the beds without a number
    assert not any(segment['is_crowd'] for segment in segments)
    images = 'images/training', 'images/validation'
    assert fine(ade20k, 'ade20k_panoptic_train', 'ade20k_panoptic_val', images) is True
    again = run_tool('dataset_converters/ade20k_panoptic.py', ade20k)
    assert again.returncode == 1 and 'exists already' in again.stderr


def test_ade20k_without_its_instances(ade20k):
    next((ade20k / 'annotations_instance/training').iterdir()).unlink()
    done = run_tool('dataset_converters/ade20k_panoptic.py', ade20k)
    assert done.returncode == 1 and 'unpack annotations_instance again' in done.stderr
    assert not list(ade20k.glob('ade20k*'))


@pytest.fixture
def cityscapes(tmp_path):
    """Road (7), two cars (26), cars without numbers, and the own car (1), which does not count."""
    for split, cities in dict(train=('aachen', 'bochum'), val=('lindau',)).items():
        for city in cities:
            name = f'{city}_000000_000019'
            write_image(tmp_path / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png')
            ids = np.full(SIZE, 7, np.uint16)
            ids[:8, :8], ids[:8, 20:30], ids[20:30, 20:40], ids[40:] = 26000, 26001, 26, 1
            write(tmp_path / 'gtFine' / split / city / f'{name}_gtFine_instanceIds.png', ids)
    return tmp_path


def test_cityscapes(cityscapes):
    done = run_tool('dataset_converters/cityscapes_panoptic.py', cityscapes)
    assert done.returncode == 0 and '2 images, 8 segments, 19 classes' in done.stdout
    for split in ('train', 'val'):
        plane, segments, names = truth_of('cityscapes_panoptic_index.py', cityscapes, split)
        assert sorted(names) == ['car', 'car', 'car', 'road']
        [crowd] = [k for k, segment in enumerate(segments) if segment['is_crowd']]
        assert names[crowd] == 'car' and (plane == crowd).sum() == 200
        assert (plane < 0).sum() == 8 * 64
    images = '../leftImg8bit/train', '../leftImg8bit/val'
    splits = 'cityscapes_panoptic_train', 'cityscapes_panoptic_val'
    assert fine(cityscapes / 'gtFine', *splits, images) is True


@pytest.fixture
def coconut(tmp_path):
    """As download_coconut.py writes it: small ids, the name of the .jpg, no boxes, areas as float.

    The PNG of the second image is gray.
    """
    source = tmp_path / 'source'
    write_panoptic(source, train=2, val=1)
    for split, name in (('train2017', 'coconut_s'), ('val2017', 'relabeled_coco_val')):
        content = json.loads((source / f'annotations/panoptic_{split}.json').read_text())
        coco = dict(zip((1, 2, 3, 4), (1, 2, 187, 193)))
        kinds = [(1, 'person', 1), (2, 'bicycle', 1)]
        kinds += [(187, 'sky-other-merged', 0), (193, 'grass-merged', 0)]
        content['categories'] = [dict(id=i, name=n, isthing=k) for i, n, k in kinds]
        (tmp_path / name).mkdir()
        for k, annotation in enumerate(content['annotations']):
            small = {i: j for j, i in enumerate(np.unique(plane_of_ids()).tolist(), start=1)}
            plane = np.vectorize(small.get)(plane_of_ids()).astype(np.uint8)
            black = np.zeros_like(plane)
            pixels = plane if k == 1 else np.dstack([black, black, plane])
            write(tmp_path / name / annotation['file_name'], pixels)
            annotation['file_name'] = Path(annotation['file_name']).with_suffix('.jpg').name
            for segment in annotation['segments_info']:
                del segment['bbox']
                segment.update(
                    id=small[segment['id']],
                    area=float(segment['area']),
                    category_id=coco[segment['category_id']],
                    isthing=int(segment['category_id'] < 3),
                )
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    return tmp_path


def test_coconut(coconut):
    out = coconut / 'out'
    for name, folder in (('coconut_s', 'train2017'), ('relabeled_coco_val', 'val2017')):
        done = run_tool(
            'dataset_converters/coconut.py',
            coconut / f'{name}.json',
            out,
            '--images',
            coconut / 'nothing',
            coconut / 'source' / folder,
        )
        assert done.returncode == 0, done.stderr
    for split in ('train', 'val'):
        _, _, names = truth_of('coconut_panoptic_index.py', out, split)
        assert sorted(names) == ['bicycle', 'grass-merged', 'person', 'person', 'sky-other-merged']
    written = json.loads((out / 'annotations/panoptic_coconut_s.json').read_text())
    person = next(
        s for s in written['annotations'][1]['segments_info'] if s['bbox'] == [4, 4, 12, 10]
    )
    assert person['area'] == 120 and person['category_id'] == 1
    images = '../coconut_s', '../relabeled_coco_val'
    splits = 'panoptic_coconut_s', 'panoptic_relabeled_coco_val'
    assert fine(out / 'annotations', *splits, images) is True


def test_coconut_without_an_image(coconut):
    arguments = coconut / 'coconut_s.json', coconut / 'out', '--images', coconut / 'nothing'
    done = run_tool('dataset_converters/coconut.py', *arguments)
    assert done.returncode == 1 and '1.png is in none of the folders --images' in done.stderr
