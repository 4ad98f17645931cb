"""PQ on random planes: beside three other programs, and what must not change it."""

import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation.coco_panoptic import evaluate_folders
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmdet.registry import METRICS
from pq_oracles import GROUPS, ORACLES, by_panopticapi, ours, write_side

CATEGORIES = [
    dict(id=7, name='cat', isthing=1),
    dict(id=2, name='sky', isthing=0),
    dict(id=90, name='dog', isthing=1),
    dict(id=5, name='sea', isthing=0),
]
IDS = [1, 2, 255, 256, 65536, 1 << 23, (1 << 24) - 1]


@st.composite
def segments_of(draw, plane: np.ndarray, crowds: bool) -> list[dict]:
    """A random category for each id of a plane, with true areas; some are crowds."""
    listed = []
    for number in np.unique(plane[plane > 0]).tolist():
        category = draw(st.sampled_from(CATEGORIES))
        crowd = crowds and bool(category['isthing']) and draw(st.integers(0, 3)) == 0
        area = int((plane == number).sum())
        listed.append(dict(id=number, category_id=category['id'], iscrowd=int(crowd), area=area))
    return listed


@st.composite
def scenes(draw, crowds: bool = True) -> dict[str, tuple[dict, dict]]:
    """Planes and segments of the truth and of a guess that shares pixels with it."""
    sides = dict(truth=({}, {}), guess=({}, {}))
    for image_id in range(1, draw(st.integers(1, 3)) + 1):
        shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
        few = st.sampled_from([0, *IDS[: draw(st.integers(1, len(IDS)))]])
        truth = draw(arrays(np.int64, shape, elements=few))
        changed = draw(arrays(bool, shape))
        guess = np.where(changed, draw(arrays(np.int64, shape, elements=few)), truth)
        listed = draw(segments_of(truth, crowds))
        categories = {segment['id']: segment['category_id'] for segment in listed}
        guessed = draw(segments_of(guess, False))
        for segment in guessed:
            if segment['id'] in categories and draw(st.booleans()):
                segment['category_id'] = categories[segment['id']]
        for side, plane, segments in (('truth', truth, listed), ('guess', guess, guessed)):
            sides[side][0][image_id], sides[side][1][image_id] = plane, segments
    return sides


def written(folder, sides: dict, categories: list[dict] = CATEGORIES) -> list[tuple[str, str]]:
    return [write_side(folder, name, *side, categories) for name, side in sides.items()]


def figures(truth: tuple[str, str], guess: tuple[str, str], **options) -> dict:
    return ours(evaluate_folders(*truth, *guess, warn=len, **options))  # warnings are not shown


@pytest.mark.parametrize('oracle', ORACLES)
@given(sides=scenes())
def test_equals_other_programs(folder, oracle, sides):
    truth, guess = written(folder, sides)
    expected, got = ORACLES[oracle](truth, guess), figures(truth, guess)
    for place in got.keys() - GROUPS | expected.keys():  # a category that does not occur has 0
        assert got[place] == pytest.approx(expected.get(place, (0, 0, 0)), abs=1e-9), place


@pytest.mark.parametrize('oracle', ['hotcoco', 'vernier'])  # panopticapi's figures are stored
def test_equals_other_programs_on_real_images(real_data, oracle):
    golden, coco = real_data / 'golden_pq_val100', real_data / 'coco' / 'annotations'
    truth = str(coco / 'panoptic_val2017.json'), str(coco / 'panoptic_val2017')
    guess = str(golden / 'panoptic_pred.json'), str(golden / 'panoptic_pred')
    got, expected = figures(truth, guess), ORACLES[oracle](truth, guess)
    assert len(expected) > 127 and round(100 * expected['All'][0], 4) == 61.6101
    for place in got.keys() - GROUPS | expected.keys():
        assert got[place] == pytest.approx(expected.get(place, (0, 0, 0)), abs=1e-9), place


@given(sides=scenes())
def test_the_metric_of_a_run_equals_the_command_line(folder, sides):
    """Index planes and panoptic maps of the network in place of PNGs and JSONs."""
    expected = figures(*written(folder, sides))
    metric = METRICS.build(dict(type='PanopticQualityMetric'))
    things, stuff = (
        [c['name'] for c in CATEGORIES if c['isthing'] == kind] for kind in (True, False)
    )
    metric.dataset_meta = dict(classes=things + stuff, thing_classes=things, stuff_classes=stuff)
    label_of = {c['id']: (things + stuff).index(c['name']) for c in CATEGORIES}
    for image_id, plane in sides['truth'][0].items():
        listed, guessed = (sides[side][1][image_id] for side in ('truth', 'guess'))
        index, guess = np.full(plane.shape, -1), sides['guess'][0][image_id]
        found = np.full(plane.shape, len(label_of), np.int32)  # void
        for k, segment in enumerate(listed):
            index[plane == segment['id']] = k
        for k, segment in enumerate(guessed, start=1):
            found[guess == segment['id']] = label_of[segment['category_id']] + 1000 * k
        truth = dict(
            labels=torch.tensor([label_of[s['category_id']] for s in listed], dtype=torch.int64),
            is_crowd=torch.tensor([bool(s['iscrowd']) for s in listed], dtype=torch.bool),
        )
        sample = dict(
            img_id=image_id,
            img_path=f'{image_id}.jpg',
            ori_shape=plane.shape,
            gt_panoptic_seg=dict(index_map=torch.from_numpy(index)[None]),
            gt_segments=truth,
            pred_panoptic_seg=dict(sem_seg=torch.from_numpy(found)[None]),
        )
        metric.process(None, [sample])
    values = metric.evaluate(len(sides['truth'][0]))
    for group, suffix in zip(GROUPS, ('', '_th', '_st')):
        got = [values[f'coco_panoptic/{key}{suffix}'] for key in ('PQ', 'SQ', 'RQ')]
        assert got == pytest.approx([100 * value for value in expected[group]], abs=1e-9)


@given(sides=scenes(), data=st.data())
def test_a_stated_area_changes_nothing_unless_panopticapi_is_asked(folder, sides, data):
    truth, guess = written(folder, sides)
    before = figures(truth, guess)
    for listed in sides['truth'][1].values():
        for segment in listed:
            segment['area'] = data.draw(st.integers(1, 100))
    truth, guess = written(folder, sides)
    assert figures(truth, guess) == before
    theirs = by_panopticapi(truth, guess)
    if max((max(values) for values in theirs.values()), default=0) > 1:
        with pytest.raises(UserError, match='above 100 %'):
            figures(truth, guess, as_panopticapi=True)
        return
    as_theirs = figures(truth, guess, as_panopticapi=True)
    for place, values in theirs.items():
        assert as_theirs[place] == pytest.approx(values, abs=1e-9), place


@given(sides=scenes(crowds=False))
def test_the_truth_against_itself_is_100(folder, sides):
    truth, _ = written(folder, sides)
    found = figures(truth, truth)
    listed = {s['category_id'] for segments in sides['truth'][1].values() for s in segments}
    assert {place for place, values in found.items() if values == (1, 1, 1)} >= listed
    assert found['All'] == ((1, 1, 1) if listed else (0, 0, 0))


@given(sides=scenes(), data=st.data())
def test_orders_and_numbers_change_nothing(folder, sides, data):
    """Images and categories in another order, and other ids of images and segments."""
    before = figures(*written(folder, sides))
    planes, _ = sides['truth']
    new_image = dict(zip(planes, data.draw(st.permutations([*planes, 70, 80])), strict=False))
    order = data.draw(st.permutations(list(planes)))
    changed = {}
    for name, (planes, listed) in sides.items():
        new_id = dict(zip([0, *IDS], [0, *data.draw(st.permutations(IDS))]))
        changed[name] = (
            {new_image[i]: np.vectorize(new_id.get)(planes[i]) for i in order},
            {new_image[i]: [dict(s, id=new_id[s['id']]) for s in listed[i]] for i in order},
        )
    again = figures(*written(folder, changed, data.draw(st.permutations(CATEGORIES))))
    assert again.keys() == before.keys()
    for place, values in before.items():
        assert again[place] == pytest.approx(values, abs=1e-12)


@given(sides=scenes())
def test_figures_are_shares(folder, sides):
    found = figures(*written(folder, sides))
    assert set(GROUPS) < set(found)
    for pq, sq, rq in found.values():
        assert 0 <= pq <= min(sq, rq) + 1e-12 and max(sq, rq) <= 1
