"""Sizes, confusion and calibration against counts of one segment or one pixel at a time."""

import json
from collections import Counter

import numpy as np
import pytest
from cmt_deeplab.analysis.segment_rows import FN, FP, ROW, TP
from cmt_deeplab.analysis.segment_tables import by_size, calibration, most_confused, quantile_edges
from cmt_deeplab.coco_format import read_id_plane

VOID = 'void'


def images_of(files):
    """Of each image the masks of its true and of its predicted segments, and the void mask."""
    truth, (pred_json, pred_folder), _ = files
    content = json.loads(truth.ann_file.read_text())
    guesses = json.loads(open(pred_json).read())['annotations']
    names = {category['id']: category['name'] for category in content['categories']}
    for entry, guess in zip(content['annotations'], guesses, strict=True):
        planes = [
            read_id_plane(f'{folder}/{e["file_name"]}')
            for folder, e in ((truth.seg_dir, entry), (pred_folder, guess))
        ]
        sides = [
            [
                dict(s, mask=plane == s['id'], name=names[s['category_id']])
                for s in e['segments_info']
            ]
            for plane, e in zip(planes, (entry, guess))
        ]
        yield *sides, planes[0] == 0


def pairs_of(true, guessed, void):
    """The pairs with IoU > 0.5 of an image, whatever their classes."""
    for s in true:
        for t in guessed:
            union = (s['mask'] | (t['mask'] & ~void)).sum()
            iou = (s['mask'] & t['mask']).sum() / union
            if iou > 0.5 and not s['iscrowd']:
                yield s, t, iou


def is_excused(guess, true, void):
    crowds = [s['mask'] for s in true if s['iscrowd'] and s['name'] == guess['name']]
    covered = np.any([void, *crowds[-1:]], axis=0)
    return (guess['mask'] & covered).sum() > guess['mask'].sum() / 2


def test_sizes_by_the_true_area_and_of_false_positives_by_their_own(files, evaluations):
    evaluation, edges = evaluations[0], (100, 400)
    counts = [Counter() for _ in range(3)]
    for true, guessed, void in images_of(files):
        found = [p for p in pairs_of(true, guessed, void) if p[0]['name'] == p[1]['name']]
        for s, _, iou in found:
            counts[np.searchsorted(edges, s['mask'].sum())][s['name'], 'iou'] += iou
        for kind, segments in (
            ('tp', [s for s, *_ in found]),
            ('fn', [s for s in true if not s['iscrowd'] and all(s is not p[0] for p in found)]),
            (
                'fp',
                [
                    t
                    for t in guessed
                    if all(t is not p[1] for p in found) and not is_excused(t, true, void)
                ],
            ),
        ):
            for segment in segments:
                counts[np.searchsorted(edges, segment['mask'].sum())][segment['name'], kind] += 1
    table = by_size(evaluation.segments, evaluation.kinds, edges)
    assert [row['at_most'] for row in table] == [100, 400, None]
    for row, number in zip(table, counts):
        expected = []
        for name in ('cat', 'dog', 'Sky', 'Sea'):
            weight = number[name, 'tp'] + (number[name, 'fp'] + number[name, 'fn']) / 2
            expected += [number[name, 'iou'] / weight] * bool(weight)
        assert row['All']['pq'] == pytest.approx(np.mean(expected)) and row['All']['n'] > 2
        assert row['segments'] == sum(n for (_, kind), n in number.items() if kind in ('tp', 'fn'))
    [whole] = by_size(evaluation.segments, evaluation.kinds, ())
    assert whole['All']['pq'] == pytest.approx(evaluation.figures['All']['pq'])


def test_quarters_have_as_many_true_segments_each(evaluations):
    segments = evaluations[0].segments
    numbers = [row['segments'] for row in evaluations[0].sizes['quarters']]
    assert sum(numbers) == (segments['kind'] != FP).sum() and max(numbers) - min(numbers) <= 2
    assert quantile_edges(segments[:0]) == ()
    same = np.zeros(5, ROW)
    same['area'] = 7
    assert quantile_edges(same) == (7,)


def test_confusion_of_pixels_and_of_segments(files, evaluations):
    pixels, segments = Counter(), Counter()
    for true, guessed, void in images_of(files):
        labels = []
        for side in (true, guessed):
            labels.append(np.full(void.shape, VOID, object))
            for segment in side:
                labels[-1][segment['mask']] = segment['name']
        pixels.update(zip(*(plane.ravel().tolist() for plane in labels)))
        found = [*pairs_of(true, guessed, void)]
        segments.update((s['name'], t['name']) for s, t, _ in found)
        segments.update(
            (s['name'], VOID)
            for s in true
            if not s['iscrowd'] and all(s is not p[0] for p in found)
        )
        segments.update(
            (VOID, t['name'])
            for t in guessed
            if all(t is not p[1] for p in found) and not is_excused(t, true, void)
        )
    del pixels[VOID, VOID]  # is not counted
    names = [*evaluations[0].names, VOID]
    assert names == ['cat', 'dog', 'never seen', 'Sky', 'Sea', VOID]
    for unit, expected in (('pixels', pixels), ('segments', segments)):
        matrix = evaluations[0].confusion[unit]
        assert {
            (names[row], names[column]): number
            for (row, column), number in np.ndenumerate(matrix)
            if number
        } == expected
        wrong = [(n, p) for p, n in expected.items() if VOID not in p and p[0] != p[1]]
        shown = most_confused(matrix, names[:-1], most=2)
        assert [row['number'] for row in shown] == sorted((n for n, _ in wrong), reverse=True)[:2]
        assert expected[shown[0]['true'], shown[0]['predicted']] == shown[0]['number']


def test_calibration_is_the_mean_difference_of_score_and_share_of_matches():
    rows = np.zeros(6, ROW)
    rows['score'] = 0.95, 0.91, 1.0, 0.12, np.nan, np.nan
    rows['kind'] = TP, FP, TP, FP, TP, FN  # the last two take no part
    table = calibration(rows)
    last, second = table['bins'][9], table['bins'][1]
    assert (last['n'], second['n'], table['n'], len(table['bins'])) == (3, 1, 4, 10)
    assert last['score'] == pytest.approx(2.86 / 3) and last['matched'] == pytest.approx(2 / 3)
    assert table['ece'] == pytest.approx((3 * abs(2.86 / 3 - 2 / 3) + 0.12) / 4)
    assert calibration(rows[4:]) is None
    perfect = rows[:1].copy()
    perfect['score'] = 1
    assert calibration(perfect)['ece'] == 0
