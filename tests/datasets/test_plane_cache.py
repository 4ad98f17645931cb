"""A file of planes gives the samples of the PNGs, and is refused where these have changed."""

import os
import shutil

import cv2
import numpy as np
import pytest
from cmt_deeplab.datasets import PanopticIndexDataset, load_panoptic_index_map
from cmt_deeplab.datasets.plane_cache import write_planes
from cmt_deeplab.errors import MissingFileError, UserError
from run_tool import run_tool
from small_panoptic import change_json, plane_of_ids, write_ids, write_panoptic

NAME = 'annotations/panoptic_train2017'
PNGS = ['1.png', '2.png', '3.png']
OURS = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticIndexMap'),
    dict(type='PanopticLargeScaleJitter', crop_size=(40, 40)),
    dict(type='PackPanopticInputs'),
]
MMDETS = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadPanopticAnnotations', with_bbox=False),
    dict(type='PackDetInputs'),
]


@pytest.fixture
def root(tmp_path):
    root = write_panoptic(tmp_path / 'data')
    crowded = np.arange(plane_of_ids().size).reshape(plane_of_ids().shape) // 4 % 300 + 1
    write_ids(root / NAME / '2.png', crowded)  # more segments than one byte tells apart
    segment = dict(category_id=1, iscrowd=0, area=4, bbox=[0, 0, 4, 1])
    segments = [dict(segment, id=number) for number in range(1, 301)]
    change_json(root, lambda content: content['annotations'][1].update(segments_info=segments))
    return root


def build(root, *, pipeline=OURS, **options) -> PanopticIndexDataset:
    prefix = dict(img='train2017', seg=NAME)
    return PanopticIndexDataset(
        data_root=str(root),
        ann_file=f'{NAME}.json',
        data_prefix=prefix,
        pipeline=pipeline,
        **options,
    )


def write(root) -> list[str]:
    return write_planes(str(root / f'{NAME}.planes'), PNGS, str(root / NAME), processes=1)


def arrays_of(dataset, index: int) -> list[np.ndarray]:
    np.random.seed(index)
    sample = dataset[index]
    truth = sample['data_samples']
    if 'gt_panoptic_seg' in truth:
        planes = [truth.gt_panoptic_seg.index_map, *truth.gt_segments.values()]
    else:
        planes = [truth.gt_instances.masks.masks, truth.gt_sem_seg.sem_seg]
    return [np.asarray(each) for each in (sample['inputs'], *planes)]


@pytest.mark.parametrize('pipeline', [OURS, MMDETS])
def test_samples_are_equal_with_and_without_it(root, monkeypatch, pipeline):
    path = str(root / f'{NAME}.json')
    done = run_tool('misc/cache_planes.py', path, '--out', root / 'other', '--processes', '2')
    assert f'{root / "other"}: 3 of 3 planes' in done.stdout
    plain, cached = (build(root, pipeline=pipeline, plane_cache=key) for key in (False, 'other'))
    expected = [arrays_of(plain, index) for index in range(3)]
    monkeypatch.delattr(load_panoptic_index_map, 'read_id_plane')  # no PNG is read
    for index, arrays in enumerate(expected):
        for ours, others in zip(arrays_of(cached, index), arrays, strict=True):
            assert ours.dtype == others.dtype and np.array_equal(ours, others)


def test_another_annotation_file_gives_other_truth(root):
    assert write(root) == []
    change_json(root, lambda content: content['annotations'][0]['segments_info'].reverse())
    plain, cached = build(root), build(root, plane_cache=True)
    assert all(map(np.array_equal, arrays_of(plain, 0), arrays_of(cached, 0)))
    cached_again = lambda: build(root, plane_cache=True)[0]  # noqa: E731
    change_json(root, lambda content: content['annotations'][0]['segments_info'].pop())
    with pytest.raises(UserError, match=r'has the segment id .* lacks: the two do not belong'):
        cached_again()


def test_a_changed_png_is_noticed(root):
    write(root)
    png, dataset = root / NAME / '1.png', build(root, plane_cache=True)
    copied = shutil.copytree(root, root.parent / 'copy')  # with the times of change
    assert np.array_equal(*(arrays_of(d, 0)[1] for d in (dataset, build(copied, plane_cache=True))))
    os.utime(png, (0, 0))
    sentence = rf'panoptic_train2017\.planes does not hold {png} as it is now: write it by tools/'
    for read in (lambda: dataset[0], lambda: build(root, plane_cache=True)):
        with pytest.raises(UserError, match=sentence):
            read()
    write(root)
    build(root, plane_cache=True)
    write_ids(png, np.kron(plane_of_ids()[::2, ::2], np.ones((2, 2), int)))
    with pytest.raises(UserError, match='as it is now'):
        build(root, plane_cache=True)


def test_a_file_of_planes_that_is_missing_or_damaged_is_refused(root):
    with pytest.raises(MissingFileError, match=r'no file of planes .*\.planes, which plane_cache'):
        build(root, plane_cache=True)
    write(root)
    place = root / f'{NAME}.planes'
    dataset, data = build(root, plane_cache=True), place.read_bytes()
    for damaged in (b'', data[:-3], b'PK' + data[2:], data[:60] + b'?' + data[61:-9]):
        place.write_bytes(damaged)
        with pytest.raises(UserError, match='is no whole file of planes'):
            build(root, plane_cache=True)
    with pytest.raises(UserError, match='was damaged or changed meanwhile'):
        dataset[0]


def test_a_file_that_was_written_anew_gives_no_plane_of_another_image(root):
    for name in ('1.png', '3.png'):
        write_ids(root / NAME / name, np.roll(plane_of_ids(), int(name[0]), axis=1))
    place, folder = str(root / f'{NAME}.planes'), str(root / NAME)
    write_planes(place, ['1.png', '3.png', '2.png'], folder, processes=1)
    dataset = build(root, plane_cache=True)
    write_planes(place, ['3.png', '1.png', '2.png'], folder, processes=1)
    with pytest.raises(UserError, match='another plane stands there'):
        dataset[0]


def test_a_missing_folder_leaves_what_was_there(root):
    write(root)
    place = root / f'{NAME}.planes'
    before = place.read_bytes()
    with pytest.raises(MissingFileError, match='no folder nowhere .* --png-dir'):
        write_planes(str(place), PNGS, 'nowhere', processes=1)
    assert place.read_bytes() == before


def test_an_interrupted_command_leaves_what_was_there(root):
    write(root)
    place = root / f'{NAME}.planes'
    before = place.read_bytes()

    def interrupted(planes):
        yield next(iter(planes))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_planes(str(place), PNGS, str(root / NAME), processes=1, track=interrupted)
    assert place.read_bytes() == before
    assert [*place.parent.glob('*.part')] == []


def test_faulty_pngs_are_named_and_left_out(root):
    (root / NAME / '1.png').write_bytes(b'no image')
    cv2.imwrite(str(root / NAME / '3.png'), np.zeros((48, 64), np.uint8))
    first, second = write(root)
    assert '1.png is not an image' in first and '3.png is a gray or palette PNG' in second
    with pytest.raises(UserError):
        build(root, plane_cache=True)
    (root / NAME / '3.png').unlink()
    assert 'does not exist' in write(root)[1]
    write_ids(root / NAME / '3.png', plane_of_ids())
    write(root)
    dataset = build(root, plane_cache=True, skip_faulty_images=True)
    assert len(dataset) == 2 and len(dataset.skipped_images) == 1
