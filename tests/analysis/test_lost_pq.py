"""The causes of the lost PQ on planes whose fault is known, and their sum on random ones."""

import re

import numpy as np
import pytest
from cmt_deeplab.analysis.lost_pq import CAUSES, lost_pq, lost_table, main_cause, unmatched_causes
from cmt_deeplab.analysis.saved.texts import lost_sentence
from cmt_deeplab.analysis.segment_rows import segment_rows
from cmt_deeplab.evaluation.pq import SegmentTable, aggregate, joint_histogram, match_segments

CELL, GRASS = 1, 2
IS_THING = {CELL: True, GRASS: False}
# A letter is a segment of CELL, a capital letter one of GRASS and '.' void. A plane has one row.
EXAMPLES = {
    # true, predicted, causes of the true and of the predicted segments that are not matched
    'one prediction covers all': ('aabbcc', 'xxxxxx', 'merged merged merged', 'merged'),
    'a match swallows a neighbor': ('aaaaab', 'xxxxxx', 'merged', ''),
    'two halves': ('aaaaaa', 'xxxyyy', 'split', 'split split'),
    'a match and a crumb beside it': ('aaaaaa', 'xxxxyy', '', 'split'),
    'crumbs that are too few to be joined': ('aaaaaaaa', 'xy......', 'loose', 'loose loose'),
    'a crumb alone': ('a' * 12, 'x...........', 'missed', 'spurious'),
    'right mask, another class': ('aaaabb', 'XXXXbb', 'wrong_class', 'wrong_class'),
    'nothing there': ('aaaa..bb', 'xxxx....', 'missed', ''),
    'nothing true there': ('aaaaBBBB', 'xxxxBBBy', '', 'spurious'),
    'shifted by a half': ('aaaaBBBB', 'BBxxxxBB', 'loose loose', 'loose loose'),
    'one prediction covers two classes': ('aabbBB', 'xxxxxx', 'merged merged merged', 'merged'),
    'several of another class': ('aabbBB', 'XXXXBB', 'missed missed', 'spurious'),
    'another class and a crumb': ('aaaaaa', 'XXXXxx', 'wrong_class', 'wrong_class loose'),
    'void does not count': ('....aabb', 'xxxxxxxx', 'merged merged', 'merged'),
    'more than half on void': ('.....aabb', 'xxxxxxxxx', 'merged merged', ''),
    'three colors scattered over five': (
        'aaabbbcccdddeee',
        'xyz' * 5,
        ' '.join(['merged'] * 5),
        'merged merged merged',
    ),
    'and over one of another class': (
        'aaabbbcccdddeeeFFF',
        'xyz' * 6,
        ' '.join(['merged'] * 6),
        'merged merged merged',
    ),
    'scattered crumbs': (
        ''.join(7 * letter for letter in 'abcde'),
        'x......' * 5,
        ' '.join(['missed'] * 5),
        'spurious',
    ),
    'a row of cells shifted by a half': (
        'aaaabbbbccccdddd',
        'vvwwwwxxxxyyyyzz',
        ' '.join(['loose'] * 4),
        ' '.join(['loose'] * 5),
    ),
    'a crumb between two matches': ('aaaaabbccccc', 'xxxxxxyyyyyy', 'missed', ''),
    'all right': ('aaaBB', 'xxxYY', '', ''),
}


def table_of(plane: np.ndarray, crowds: str = '') -> SegmentTable:
    ids = np.unique(plane[plane != ord('.')]).astype(np.int64)
    letters = [chr(i) for i in ids]
    categories = np.array([GRASS if letter.isupper() else CELL for letter in letters], np.int64)
    return SegmentTable(ids, categories, np.array([letter in crowds for letter in letters], bool))


def matched(true: str, predicted: str, crowds: str = ''):
    gt_plane, pred_plane = (np.array([[*map(ord, text)]]) for text in (true, predicted))
    histogram, void = joint_histogram(gt_plane, pred_plane), ord('.')
    gt, pred = table_of(gt_plane, crowds), table_of(pred_plane)
    return match_segments(gt, pred, gt_void=void, histogram=histogram)


def lost_of(images) -> dict:
    """The table, of which the parts of every group and class add up to 1 - PQ."""
    table = lost_pq(np.concatenate([segment_rows(matches) for matches in images]), IS_THING)
    figures = aggregate([matches.counts() for matches in images], IS_THING)
    for place in ('All', 'Things', 'Stuff'):
        if figures[place]['n']:
            lost = table[place]['lost']
            assert sum(lost.values()) == pytest.approx(1 - figures[place]['pq'], abs=1e-12)
    for category, figure in figures['per_class'].items():
        row = table['per_class'][category]
        if any(category in matches.counts() for matches in images):
            assert sum(row['lost'].values()) == pytest.approx(1 - figure['pq'], abs=1e-12)
            assert min(row['lost'].values()) >= 0
    for name in ('false_positive', 'false_negative'):
        number = sum(getattr(matches, f'is_{name}').sum() for matches in images)
        assert sum(table['All'][f'{name}s'].values()) == number
    assert table['All']['true_positives'] == sum(len(matches.iou) for matches in images)
    return table


@pytest.mark.parametrize(('true', 'predicted', 'missing', 'wrong'), EXAMPLES.values(), ids=EXAMPLES)
def test_each_fault_has_its_cause(true, predicted, missing, wrong):
    matches = matched(true, predicted)
    found = zip(
        unmatched_causes(matches),
        (matches.is_false_negative, matches.is_false_positive),
        strict=True,
    )
    words = [' '.join(CAUSES[k].replace(' ', '_') for k in c[chosen]) for c, chosen in found]
    assert words == [missing, wrong]
    lost_of([matches])


def test_a_crowd_is_nobodys_partner():
    matches = matched('aabbb', 'xxxxx', crowds='b')
    true_causes, _ = unmatched_causes(matches)
    assert [CAUSES[k] for k in true_causes[matches.is_false_negative]] == ['loose']
    assert not matches.is_false_positive.any()  # more than half lies on the crowd
    lost_of([matches])


def slow_causes(matches, rows_are_true):
    """The rules of the module, one segment at a time."""
    gt, pred, shared = matches.gt, matches.pred, matches.shared
    areas = matches.pred_areas - matches.on_void
    true = [s for s in range(len(gt.ids)) if not gt.is_crowd[s]]
    guessed = range(len(pred.ids))

    def iou(s, t):
        return shared[s, t] / (matches.gt_areas[s] + areas[t] - shared[s, t])

    def same(s, t):
        return gt.categories[s] == pred.categories[t]

    def spans(t):
        parts = {s: shared[s, t] for s in true if same(s, t)}
        scattered = parts and max(parts.values()) < sum(parts.values()) / 4
        return scattered or sum(n > matches.gt_areas[s] / 2 for s, n in parts.items()) > 1

    def merged(t):
        covered = {s: sum(shared[s, u] for u in guessed if spans(u)) for s in true}
        return [
            s
            for s, n in covered.items()
            if spans(t) and shared[s, t] and n > matches.gt_areas[s] / 2
        ]

    def parts(s):
        inside = [t for t in guessed if same(s, t) and shared[s, t] > areas[t] / 2]
        common = sum(shared[s, t] for t in inside)
        union = matches.gt_areas[s] + sum(areas[t] for t in inside) - common
        return inside if len(inside) > 1 and common > union / 2 else []

    def cause(pairs, rest):
        if any(not same(s, t) and iou(s, t) > 0.5 for s, t in pairs):
            return 'wrong class'
        if any(s in merged(t) for s, t in pairs):
            return 'merged'
        if any(t in parts(s) for s, t in pairs):
            return 'split'
        free = [(s, t) for s, t in pairs if s not in matches.gt_rows and t not in matches.pred_rows]
        return 'loose' if any(same(s, t) and iou(s, t) >= 0.1 for s, t in free) else rest

    if rows_are_true:
        return [cause([(s, t) for t in guessed], 'missed') for s in true]
    return [cause([(s, t) for s in true], 'spurious') for t in guessed]


@pytest.mark.parametrize('seed', range(30))
def test_random_planes_equal_the_rules_one_by_one_and_add_up(seed):
    rng, images, seen = np.random.default_rng(seed), [], set()
    for _ in range(4):
        texts = []
        for letters in ('abcdEF.', 'uvwxyzXY.'):
            lengths = rng.integers(1, 30, 14)
            texts.append(
                ''.join(str(rng.choice([*letters])) * n for n in lengths.tolist())[:150].ljust(
                    150, '.'
                )
            )
        images.append(matched(*texts, crowds='d'))
        true_causes, causes = unmatched_causes(images[-1])
        whole = ~images[-1].gt.is_crowd
        assert [CAUSES[k] for k in true_causes[whole]] == slow_causes(images[-1], True)
        assert [CAUSES[k] for k in causes] == slow_causes(images[-1], False)
        seen.update(true_causes[images[-1].is_false_negative], causes[images[-1].is_false_positive])
    assert len(seen) > 2
    lost_of(images)


def test_many_nuclei_in_one_center_read_merged_where_the_overall_pq_hides_it():
    true = ('A' * 60 + 'bbbbbbAcccccAdddddAeeeeeAfffff').replace('.', 'A')
    predicted = 'X' * 60 + 'yyyyyyX' + 'z' * 23
    table = lost_of([matched(true, predicted)])
    things, everything = table['Things'], table['All']
    assert main_cause(things) == 'merged' == main_cause(everything)
    assert 1 - sum(everything['lost'].values()) > 0.5 > 1 - sum(things['lost'].values())
    assert things['false_negatives']['merged'] == 4 and things['false_positives']['merged'] == 1
    assert main_cause(lost_of([matched('aaaBB', 'xxxYY')])['All']) is None
    lines = lost_table(table, ('cell', 'grass')).splitlines()
    assert [line.split('|')[0].strip() for line in lines[2:]] == [
        'All',
        'Things',
        'Stuff',
        'cell',
        'grass',
    ]
    shown = [float(word) for word in lines[3].split('|')[1].replace('*', '').split()]
    assert shown[0] == pytest.approx(sum(shown[1:]), abs=0.3) and '*' in lines[3].split()[3]


def test_a_second_cause_is_named_where_it_costs_a_quarter():
    table = lost_of([matched('aabbccddeeffgggggghhhhhhiiiiii', 'xxxxxx........................')])
    sentence = lost_sentence(table)
    assert re.fullmatch(
        r'Things: of 100\.0 lost points 60\.0 are missed: [^;]*; 40\.0 are merged: .*', sentence
    )
