"""Planes of ids and of indices, and their runs, beside the plain definitions in numpy."""

from unittest import mock

import numpy as np
from cmt_deeplab import planes as planes_module
from cmt_deeplab.coco_format import colors_of_ids, ids_of_colors
from cmt_deeplab.datasets.index_plane import index_plane, present_segments, renumber
from cmt_deeplab.evaluation.pq import joint_histogram
from cmt_deeplab.planes import PlaneRuns, positions, ranked, runs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))
ANY_ID = st.integers(0, (1 << 24) - 1)
FEW_IDS = st.sampled_from([0, 1, 255, 256, 65535, 65536, (1 << 24) - 1])


def planes(elements: st.SearchStrategy, shape=SHAPES, dtype=np.uint32) -> st.SearchStrategy:
    return arrays(dtype, shape, elements=elements)


@given(ids=planes(ANY_ID))
def test_ids_survive_as_colors(ids):
    colors = colors_of_ids(ids)
    assert colors.shape == (*ids.shape, 3) and colors.dtype == np.uint8
    assert (colors.astype(np.int64) @ [1, 256, 65536] == ids).all()
    assert (ids_of_colors(np.ascontiguousarray(colors)) == ids).all()


@given(ids=planes(FEW_IDS), listed=st.lists(FEW_IDS.filter(bool), unique=True))
def test_index_plane(ids, listed):
    plane, unlisted, absent = index_plane(PlaneRuns.of(ids), listed)
    expected = np.full(ids.shape, -1)
    for index, number in enumerate(listed):
        expected[ids == number] = index
    assert plane.dtype == np.int16 and (plane == expected).all()
    assert unlisted == sorted(set(ids.flat) - {0, *listed})
    assert sorted(absent) == sorted(set(listed) - set(ids.flat))


@given(data=st.data(), number=st.integers(0, 5))
def test_present_segments_and_new_numbers(data, number):
    plane = data.draw(planes(st.integers(-2, number - 1), dtype=np.int16))
    present = present_segments(plane, number)
    assert present.tolist() == [(plane == index).any() for index in range(number)]
    new = np.array(data.draw(st.lists(st.integers(-1, 9), min_size=number, max_size=number)), int)
    changed = renumber(plane, new)
    assert changed.dtype == np.int16
    assert all(to == (new[of] if of >= 0 else of) for of, to in zip(plane.flat, changed.flat))


@given(data=st.data())
def test_runs_and_the_joint_histogram(data):
    shape = data.draw(SHAPES)
    first, second = (data.draw(planes(FEW_IDS, shape)) for _ in range(2))
    values, others, lengths = runs(first, second)
    assert (np.repeat(values, lengths) == first.ravel()).all()
    assert (np.repeat(others, lengths) == second.ravel()).all()
    assert ((values[1:] != values[:-1]) | (others[1:] != others[:-1])).all()
    ids, guessed, counts = joint_histogram(first, second)
    assert ids.tolist() == sorted(set(first.flat)) and guessed.tolist() == sorted(set(second.flat))
    for row, true in zip(counts, ids):
        assert row.tolist() == [((first == true) & (second == guess)).sum() for guess in guessed]


@given(values=arrays(np.int64, st.integers(0, 30), elements=st.integers(-(1 << 40), 1 << 40)))
def test_ranks_and_positions(values):
    for numbers in (values, values % 7):  # a wide range is sorted, a narrow one counted
        distinct, places = ranked(numbers)
        assert distinct.tolist() == sorted(set(numbers.tolist()))
        assert (distinct[places] == numbers).all()
        assert (positions(numbers, distinct) == places).all()
        assert positions(1 << 50, distinct) == len(distinct)
    with mock.patch.object(planes_module, 'HASH_BITS', (2, 5)):  # most values share a slot
        distinct, places = ranked(values)
    assert distinct.tolist() == sorted({*values.tolist()}) and (distinct[places] == values).all()
