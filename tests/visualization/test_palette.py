import numpy as np
import pytest
from cmt_deeplab.visualization import distinct_colors, matched_colors, segment_colors
from cmt_deeplab.visualization.drawer import WRONG_RED


def test_colors_are_distinct_and_a_longer_list_begins_with_the_shorter_one():
    colors = distinct_colors(200)
    assert colors.shape == (200, 3) and colors.dtype == np.uint8
    assert len({tuple(c) for c in colors.tolist()}) == 200
    assert (distinct_colors(17) == colors[:17]).all() and distinct_colors(0).shape == (0, 3)
    first = colors[:12].astype(float)
    distance = np.linalg.norm(first[:, None] - first[None], axis=-1) + 1000 * np.eye(12)
    assert distance.min() > 40
    assert np.linalg.norm(colors.astype(float) - WRONG_RED, axis=1).min() > 40


def test_two_instances_of_a_class_differ_and_void_has_no_color():
    segment_map = np.array(
        [[0, 1000, 2000, 1], [1, 3, 3, 3]]
    )  # class 0 three times, class 1 (stuff), void
    colors = segment_colors(
        segment_map,
        num_classes=3,
        num_things_classes=1,
        palette=[(255, 0, 0), (0, 255, 0), (0, 0, 255)],
    )
    assert sorted(colors) == [0, 1, 1000, 2000]
    assert colors[0] == (255, 0, 0) and colors[1] == (0, 255, 0)
    assert len(set(colors.values())) == 4


def test_instances_that_touch_look_different_however_many_there_are():
    segment_map = 1000 * np.arange(1, 901).reshape(30, 30)
    colors = segment_colors(segment_map, num_classes=1, num_things_classes=1)
    place = np.array([[colors[k] for k in row] for row in segment_map.tolist()], float)
    for axis in (0, 1):
        assert np.linalg.norm(np.diff(place, axis=axis), axis=2).min() > 20
    assert len(set(colors.values())) == 480  # all that there are


def test_a_palette_that_holds_all_colors_leaves_none_for_further_instances():
    colors = segment_colors(np.array([[1000, 2000]]), num_classes=480, num_things_classes=480)
    assert colors[1000] == colors[2000]


def test_a_short_palette_is_refused():
    with pytest.raises(ValueError, match='2 colors for 3 classes'):
        segment_colors(
            np.zeros((2, 2), int),
            num_classes=3,
            num_things_classes=1,
            palette=[(1, 2, 3), (4, 5, 6)],
        )


def test_a_match_takes_the_color_of_its_reference_and_nothing_else_does():
    reference = {1: (10, 10, 10), 1000: (20, 20, 20)}
    colors = matched_colors(
        {1: (1, 1, 1), 2000: (2, 2, 2), 3000: (10, 10, 10)}, reference, {1: 1, 2000: 1000}
    )
    assert colors[1] == (10, 10, 10) and colors[2000] == (20, 20, 20)
    assert colors[3000] not in reference.values()
