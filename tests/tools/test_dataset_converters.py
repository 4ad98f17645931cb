"""Public data sets in their own formats become COCO panoptic data that the base configs read."""

import json
from pathlib import Path

import pytest
from cmt_deeplab.doctor import examine
from cmt_deeplab.own_data import PanopticFolder, PanopticSplit
from mmdet.registry import DATASETS
from mmengine.config import Config
from public_layouts import write_ade20k, write_cityscapes, write_coconut
from run_tool import run_tool

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/datasets'


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
    return write_ade20k(tmp_path)


@pytest.fixture
def cityscapes(tmp_path):
    return write_cityscapes(tmp_path)


@pytest.fixture
def coconut(tmp_path):
    return write_coconut(tmp_path)


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
