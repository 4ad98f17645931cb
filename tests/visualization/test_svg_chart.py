import math
import xml.etree.ElementTree as ET

import pytest
from cmt_deeplab.visualization import Series, line_chart, smooth
from cmt_deeplab.visualization.svg_chart import nice_ticks


def texts(svg: str):
    return [e.text for e in ET.fromstring(svg).iter() if e.tag.endswith('text')]


def test_ticks_are_round_and_cover_the_range():
    assert nice_ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    for low, high in ((0.013, 0.094), (-3, 17), (5, 5), (1e-9, 2e-9)):
        ticks = nice_ticks(low, high)
        assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 9
    with pytest.raises(ValueError, match='finite'):
        nice_ticks(0, math.inf)


def test_chart_has_axes_and_the_last_values():
    svg = line_chart(
        [Series('loss & co', [(10, 4.0), (500, 2.0), (1000, 1.25)], '#123456')],
        title='t',
        x_label='iteration',
        y_label='loss',
        x_note=lambda x: f'{x / 100:.0f} min',
    )
    found = texts(svg)
    assert {'iteration', 'loss', 'loss & co 1.25', '1 000', '10 min', '0'} <= set(found)
    assert 'stroke="#123456"' in svg


def test_points_that_are_not_finite_leave_a_gap():
    svg = line_chart(
        [Series('a', [(0, 1), (1, math.nan), (2, 1), (3, 2)], '#123456')],
        title='t',
        x_label='x',
        y_label='y',
    )
    line = next(e for e in ET.fromstring(svg).iter() if e.get('stroke') == '#123456')
    assert line.get('d').count('M') == 2 and 'nan' not in svg


def test_a_chart_of_nothing_says_so():
    assert any(
        'nothing was logged' in t
        for t in texts(
            line_chart([Series('a', [], '#123456')], title='t', x_label='x', y_label='y')
        )
    )


def test_labels_of_lines_that_end_together_do_not_cover_each_other():
    svg = line_chart(
        [Series(n, [(0, 0), (1, 50 + i * 0.1)], '#123456') for i, n in enumerate('abc')],
        title='t',
        x_label='x',
        y_label='y',
    )
    labels = [
        e
        for e in ET.fromstring(svg).iter()
        if e.tag.endswith('text') and (e.text or '')[:2] in ('a ', 'b ', 'c ')
    ]
    rows = sorted(float(e.get('y')) for e in labels)
    assert len(rows) == 3 and all(b - a >= 14 for a, b in zip(rows, rows[1:]))


def test_smoothing_keeps_a_straight_line_and_damps_noise():
    line = [(i, 2.0 * i) for i in range(50)]
    assert [v for p in smooth(line, 0.2) for v in p] == pytest.approx([v for p in line for v in p])
    assert max(abs(y) for _, y in smooth([(i, (-1.0) ** i) for i in range(100)], 0.2)[20:80]) < 0.2
