"""The generator keeps what its presets promise."""

import json
import runpy
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from cmt_deeplab.datasets.shape_forms import CATEGORY_IDS, STUFF_CLASSES, THING_CLASSES, shape_mask
from cmt_deeplab.datasets.shapes import PRESETS, make_scene, scenes
from cmt_deeplab.datasets.shapes_files import shapes_preset, write_shapes
from cmt_deeplab.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
# preset: side, stuff regions, things, radius as a share of the side
PROMISES = {
    'standard': (128, (2, 4), (3, 8), (0.05, 0.20)),
    'quick': (96, (2, 3), (2, 5), (0.12, 0.25)),
}
STUFF_IDS = {CATEGORY_IDS[name] for name in STUFF_CLASSES}


@pytest.fixture(scope='module', params=sorted(PROMISES))
def drawn(request):
    return request.param, list(scenes(PRESETS[request.param], number=150, seed=3))


def hidden_share(thing):
    """Of a thing's pixels inside the image, the part that other things cover."""
    return 1 - thing.visible / thing.area


def test_counts_sizes_and_classes(drawn):
    name, batch = drawn
    side, num_stuff, num_things, (low, high) = PROMISES[name]
    things, stuff = Counter(), Counter()
    for scene in batch:
        assert scene.image.shape == (side, side, 3) and scene.ids.shape == (side, side)
        regions = [s for s in scene.segments_info if s['category_id'] in STUFF_IDS]
        assert num_stuff[0] <= len(regions) <= num_stuff[1]
        assert len({s['category_id'] for s in regions}) == len(regions), (
            'stuff of one class is one segment'
        )
        assert num_things[0] <= len(scene.things) <= num_things[1]
        assert all(low * side <= t.radius <= high * side for t in scene.things)
        things.update(t.name for t in scene.things)
        stuff.update(s['category_id'] for s in regions)
    assert set(things) == set(THING_CLASSES) and len(things) >= 5
    assert set(stuff) == STUFF_IDS and len(stuff) >= 4
    for counter in (things, stuff):  # no class is rare
        assert min(counter.values()) > 0.6 * max(counter.values())
    # The whole ranges are used.
    assert {len(s.things) for s in batch} == set(range(num_things[0], num_things[1] + 1))
    radii = np.array([t.radius / side for s in batch for t in s.things])
    assert radii.min() < low + 0.1 * (high - low) and radii.max() > high - 0.1 * (high - low)


def test_a_third_of_the_things_is_occluded(drawn):
    _, batch = drawn
    hidden = np.array([hidden_share(t) for s in batch for t in s.things])
    assert 0.28 <= (hidden >= 0.10).mean() <= 0.39
    assert hidden.max() < 0.6


def test_hidden_share_is_what_the_plane_shows():
    """Without void strips and crowds a segment is its own area less the hidden share."""
    preset = replace(PRESETS['standard'], void_probability=0, crowd_probability=0)
    for scene in scenes(preset, number=20, seed=11):
        area = {s['id']: s['area'] for s in scene.segments_info}
        for thing in scene.things:
            whole = area[thing.segment_id] / (1 - hidden_share(thing))
            # A whole outline at any angle, up to what the image border cuts off: at most 0.3 radii
            # on each of two sides.
            full = np.mean(
                [shape_mask(thing.name, thing.radius, angle).sum() for angle in (0.1, 0.5, 0.9)]
            )
            assert 0.4 * full <= whole <= 1.15 * full


def test_colors_do_not_tell_the_class(drawn):
    """The mean color of each class lies at the mean of all, within what so few draws vary."""
    _, batch = drawn
    things = [t for s in batch for t in s.things]
    colors = np.array([t.color for t in things], float)
    names = np.array([t.name for t in things])
    for name in THING_CLASSES:
        mine = colors[names == name]
        tolerance = 4 * colors.std(0) / np.sqrt(len(mine))
        assert (abs(mine.mean(0) - colors.mean(0)) < tolerance).all(), name


def test_annotations_agree_with_the_plane(drawn):
    _, batch = drawn
    crowds = voids = 0
    for scene in batch:
        ids, counts = np.unique(scene.ids, return_counts=True)
        found = dict(zip(ids.tolist(), counts.tolist()))
        voids += found.pop(0, 0)
        assert found == {s['id']: s['area'] for s in scene.segments_info}
        for segment in scene.segments_info:
            rows, columns = np.nonzero(scene.ids == segment['id'])
            assert segment['bbox'] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]
            crowds += segment['iscrowd']
    assert 0.08 * len(batch) <= crowds <= 0.25 * len(batch)
    assert 0.01 <= voids / sum(s.ids.size for s in batch) <= 0.08


def test_a_scene_depends_on_its_seed_and_number_only():
    preset = PRESETS['quick']
    long, short = list(scenes(preset, number=4, seed=5)), list(scenes(preset, number=2, seed=5))
    for a, b in zip(long, short):
        assert (
            (a.image == b.image).all()
            and (a.ids == b.ids).all()
            and a.segments_info == b.segments_info
        )
    for other in (
        next(scenes(preset, number=1, seed=6)),
        next(scenes(preset, number=1, seed=5, split=1)),
        long[1],
    ):
        assert (long[0].ids != other.ids).any()


@pytest.mark.parametrize('size', [64, 200])
def test_any_size(size):
    scene = make_scene(shapes_preset('standard', size=size), np.random.default_rng(0))
    assert scene.ids.shape == (size, size)


def test_coarse_planes_still_score():
    """The best score that a model can reach at stride s: lower at 4 than at 2, and for things."""
    score = {}
    for stride in (2, 4):
        iou = {True: [], False: []}
        for scene in scenes(PRESETS['quick'], number=40, seed=1):
            coarse = (
                scene.ids[stride // 2 :: stride, stride // 2 :: stride]
                .repeat(stride, 0)
                .repeat(stride, 1)
            )
            for segment in scene.segments_info:
                mine, theirs = (
                    scene.ids == segment['id'],
                    (coarse == segment['id']) & (scene.ids != 0),
                )
                value = (mine & theirs).sum() / (mine | theirs).sum()
                if not segment['iscrowd']:
                    iou[segment['category_id'] in STUFF_IDS].append(value * (value > 0.5))
        score[stride] = {is_stuff: 100 * np.mean(values) for is_stuff, values in iou.items()}
    assert score[2][False] > 85 and score[2][True] > 93
    assert 60 < score[4][False] < score[2][False] and 85 < score[4][True] < score[2][True]


def test_panopticapi_reads_what_is_written(shapes_root):
    pytest.importorskip('panopticapi')
    from panopticapi.evaluation import pq_compute

    truth = shapes_root / 'annotations' / 'panoptic_val2017.json'
    result = pq_compute(
        str(truth), str(truth), str(truth.with_suffix('')), str(truth.with_suffix(''))
    )
    assert result['All']['pq'] == pytest.approx(1) and result['Stuff']['n'] == len(STUFF_CLASSES)


def test_written_files(shapes_root):
    content = json.loads((shapes_root / 'annotations/panoptic_train2017.json').read_text())
    assert len(content['images']) == len(content['annotations']) == 12
    scene = list(scenes(PRESETS['quick'], number=2, seed=7))[1]
    name = content['images'][1]['file_name']
    assert (cv2.imread(str(shapes_root / 'train2017' / name))[..., ::-1] == scene.image).all()
    png = cv2.imread(str(shapes_root / 'annotations/panoptic_train2017' / name)).astype(int)
    assert (png[..., 2] + 256 * png[..., 1] + 65536 * png[..., 0] == scene.ids).all()


def test_a_finished_data_set_is_not_written_again(tmp_path):
    write_shapes(tmp_path, preset='quick', num_train=2, num_val=1, seed=1)
    image = tmp_path / 'train2017' / '000000000001.png'
    before = image.stat().st_mtime_ns
    calls = []
    write_shapes(
        tmp_path,
        preset='quick',
        num_train=2,
        num_val=1,
        seed=1,
        progress=lambda *args: calls.append(args),
    )
    assert image.stat().st_mtime_ns == before and calls[-1] == (3, 3)


@pytest.mark.parametrize(('preset', 'fewest', 'most'), [('nuclei', 150, 350), ('alike', 40, 150)])
def test_nuclei_are_many_and_touch(preset, fewest, most, tmp_path):
    write_shapes(tmp_path, preset=preset, num_train=1, num_val=1)
    content = json.loads((tmp_path / 'annotations/panoptic_train2017.json').read_text())
    assert [c['name'] for c in content['categories']] == ['nucleus', 'tissue']
    for scene in scenes(PRESETS[preset], number=3, seed=0):
        nuclei = [s for s in scene.segments_info if s['category_id'] == 1]
        assert fewest <= len(nuclei) <= most and len(nuclei) == len(scene.segments_info) - 1
        assert max(map(hidden_share, scene.things)) <= 0.15 + 1e-9
        areas = np.array([segment['area'] for segment in nuclei])
        assert areas.min() >= 8 and np.quantile(areas, 0.95) > 3 * np.quantile(areas, 0.05)
        tissue = next(s['id'] for s in scene.segments_info if s['category_id'] == 2)
        pairs = np.stack([scene.ids[:, :-1], scene.ids[:, 1:]]).reshape(2, -1)
        touching = pairs[:, (pairs[0] != pairs[1]) & (pairs != tissue).all(0)]
        assert len(np.unique(touching)) > len(nuclei) / 2


def files_of(root):
    return {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}


OTHERS = ('annotations/panoptic_train2017.json', 'annotations/panoptic_val2017.json')
OTHERS += ('train2017/1.jpg', 'annotations/panoptic_val2017/1.png')


@pytest.mark.parametrize('name', OTHERS)
@pytest.mark.parametrize('content', [b'{"info": {"description": "COCO 2018"}}', b'', b'{"inf'])
def test_another_data_set_stays(name, content, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'{path} is not of this call .* into another folder'):
        write_shapes(tmp_path, num_train=2, num_val=1)
    assert files_of(tmp_path) == {path: content}


@pytest.mark.parametrize('other', [dict(seed=2), dict(num_val=2), dict(size=64)])
def test_generated_ones_of_another_call_stay_too(other, tmp_path):
    call = dict(num_train=2, num_val=1, seed=1)
    write_shapes(tmp_path, **call)
    before = files_of(tmp_path)
    with pytest.raises(UserError, match='is not of this call'):
        write_shapes(tmp_path, **call | other)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize('images', [1, 3])
def test_what_was_begun_is_made_again(images, tmp_path):
    class Killed(BaseException):
        pass

    def progress(done, total):
        if done == images:
            raise Killed

    call = dict(num_train=2, num_val=2, seed=1)
    with pytest.raises(Killed):
        write_shapes(tmp_path / 'cut', **call, progress=progress)
    with pytest.raises(UserError, match='is not of this call'):
        write_shapes(tmp_path / 'cut', num_train=3, num_val=2, seed=1)
    for folder in ('cut', 'whole'):
        write_shapes(tmp_path / folder, **call)
    cut, whole = (list(files_of(tmp_path / folder).values()) for folder in ('cut', 'whole'))
    assert sorted(cut) == sorted(whole)


def test_command_line(tmp_path, monkeypatch, capsys):
    script = str(REPOSITORY / 'tools' / 'misc' / 'make_shapes.py')
    argv = [script, str(tmp_path / 'out'), '--train', '2', '--val', '1', '--preset', 'standard']
    monkeypatch.setattr(sys, 'argv', [*argv, '--size', '64'])
    runpy.run_path(script, run_name='__main__')
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 6
    assert '100%' in capsys.readouterr().out
    monkeypatch.setattr(sys, 'argv', [*argv, '--size', '96'])
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name='__main__')
    assert 'is not of this call' in capsys.readouterr().err
    monkeypatch.setattr(sys, 'argv', [script, str(tmp_path / 'other'), '--size', '16'])
    with pytest.raises(SystemExit):
        runpy.run_path(script, run_name='__main__')
    assert 'size=16 is too small' in capsys.readouterr().err


def test_unknown_preset():
    with pytest.raises(
        ValueError, match="no preset 'huge': choose one of alike, nuclei, quick, standard"
    ):
        shapes_preset('huge')
