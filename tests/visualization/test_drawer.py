import tracemalloc

import numpy as np
import pytest
from cmt_deeplab.visualization import PanopticDrawer
from cmt_deeplab.visualization.drawer import WRONG_RED, near_border
from cmt_deeplab.visualization.labels import interior_point

CLASSES = ('cat', 'dog', 'grass')


def two_halves():
    segment_map = np.full((40, 60), 2)  # grass
    segment_map[:, :30] = 1000  # a cat
    segment_map[:8, :8] = 3  # void
    return np.full((40, 60, 3), 90, np.uint8), segment_map


def test_opaque_overlay_shows_each_segment_in_its_color():
    image, segment_map = two_halves()
    drawer = PanopticDrawer(
        classes=CLASSES, num_things_classes=2, alpha=1.0, min_side=1, labels=False
    )
    colors = drawer.colors(segment_map)
    picture = drawer.draw(image, segment_map)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    assert tuple(picture[30, 10]) == colors[1000] and tuple(picture[30, 50]) == colors[2]
    assert (picture[10, 29] == 250).all() and (
        picture[10, 30] == 250
    ).all()  # the border, on both sides


def test_small_images_are_enlarged_and_labeled_and_large_ones_are_not_enlarged():
    image, segment_map = two_halves()
    plain = PanopticDrawer(classes=CLASSES, num_things_classes=2, min_side=200, labels=False).draw(
        image, segment_map
    )
    labeled = PanopticDrawer(classes=CLASSES, num_things_classes=2, min_side=200).draw(
        image, segment_map
    )
    assert plain.shape == labeled.shape == (200, 300, 3)
    changed = (plain != labeled).any(-1)
    assert changed[:, :150].any() and changed[:, 150:].any() and changed.mean() < 0.3
    large = np.zeros((480, 640), int)
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2, min_side=40)
    assert drawer.draw(np.zeros((480, 640, 3), np.uint8), large).shape == (480, 640, 3)


def test_hundreds_of_small_segments_are_not_buried_under_labels():
    rows, columns = np.mgrid[:600, :600]
    disc = np.hypot(rows % 30 - 15, columns % 30 - 15) < 11  # 400 of them
    segment_map = np.where(disc, 1000 * (1 + rows // 30 * 20 + columns // 30), 2)
    image = np.full((600, 600, 3), 90, np.uint8)
    options = dict(classes=CLASSES, num_things_classes=2)
    plain = PanopticDrawer(**options, labels=False).draw(image, segment_map)
    labeled = PanopticDrawer(**options).draw(image, segment_map)
    changed = (plain != labeled).any(-1)
    assert 0.001 < changed.mean() < 0.03  # the grass and a cat, not each cat


def test_a_score_is_written_into_the_label_and_makes_it_wider():
    image, segment_map = two_halves()
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2)
    plain, scored = (drawer.draw(image, segment_map, scores=s) for s in (None, {1000: 0.87}))
    changed = (plain != scored).any(-1)
    assert changed[:, :300].any() and not changed[:, 300:].any()


def test_wrong_segments_have_a_red_border_and_crowds_light_stripes():
    image, segment_map = two_halves()
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2, min_side=200, labels=False)
    red = (drawer.draw(image, segment_map, wrong=[1000]) == WRONG_RED).all(-1)
    assert red[:, :150].any() and not red[:, 150:].any()
    striped = (drawer.draw(image, segment_map, crowds=[1000]) == 235).all(-1)
    assert striped[:, :150].any() and not striped[:, 150:].any()


def test_large_images_are_reduced_to_max_side():
    image, segment_map = two_halves()
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2, max_side=30)
    assert drawer.draw(image, segment_map).shape == (20, 30, 3)


def test_an_image_of_void_alone_can_be_drawn():
    picture = PanopticDrawer(classes=CLASSES, num_things_classes=2).draw(
        np.zeros((16, 16, 3), np.uint8), np.full((16, 16), 3)
    )
    assert picture.shape == (384, 384, 3)


@pytest.mark.parametrize(
    'segment_map, message',
    [
        (np.zeros((4, 5), int), 'image is'),
        (np.full((4, 4), -1), 'negative'),
        (np.full((4, 4), 7), 'class 7'),
    ],
)
def test_bad_maps_are_refused(segment_map, message):
    with pytest.raises(ValueError, match=message):
        PanopticDrawer(classes=CLASSES, num_things_classes=2).draw(
            np.zeros((4, 4, 3), np.uint8), segment_map
        )


@pytest.mark.parametrize('image', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_an_image_that_is_not_rgb_of_uint8_is_refused(image):
    with pytest.raises(ValueError, match='draw over RGB of type uint8'):
        PanopticDrawer(classes=CLASSES, num_things_classes=2).draw(image, np.zeros((4, 4), int))


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match='alpha'):
        PanopticDrawer(classes=CLASSES, num_things_classes=2, alpha=2.0)
    with pytest.raises(ValueError, match='num_things_classes'):
        PanopticDrawer(classes=CLASSES, num_things_classes=4)


def test_the_label_lies_inside_its_segment_even_in_a_ring():
    rows, columns = np.mgrid[-20:21, -20:21]
    ring = ((np.hypot(rows, columns) < 18) & (np.hypot(rows, columns) > 9)).astype(np.uint8)
    x, y = interior_point(ring)
    assert 12 < np.hypot(x - 20, y - 20) < 15  # in the middle of the ring


def test_borders_lie_on_both_sides_and_the_frame_is_one_if_asked():
    segment_map = np.array([[1, 1, 1, 2, 2, 2]] * 3, np.uint16)
    assert (near_border(segment_map, 1) == [[0, 0, 1, 1, 0, 0]] * 3).all()
    framed = near_border(segment_map, 1, frame=True)
    assert framed[0].all() and framed[:, 0].all() and not framed[1, 1] and framed[1, 2]


def test_drawing_needs_little_more_memory_than_the_picture():
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2)
    segment_map = np.arange(9, dtype=np.int32).reshape(3, 3) % 4
    segment_map[0] += 1000
    segment_map = segment_map.repeat(500, 0).repeat(700, 1)
    image = np.full((*segment_map.shape, 3), 90, np.uint8)
    drawer.draw(image[:50, :50], segment_map[:50, :50])  # loads the font
    tracemalloc.start()
    drawer.draw(image, segment_map)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * segment_map.size  # bytes per pixel, of which the picture takes 3


def test_a_picture_does_not_depend_on_the_strips_it_is_drawn_in(monkeypatch):
    rng = np.random.default_rng(0)
    segment_map = rng.choice([0, 1000, 2001, 2, 3], size=(6, 8)).repeat(70, 0).repeat(70, 1)
    image = rng.integers(0, 255, (*segment_map.shape, 3)).astype(np.uint8)
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2)
    kwargs = dict(wrong=[1000], crowds=[2001])
    whole = drawer.draw(image, segment_map, **kwargs)
    monkeypatch.setattr('cmt_deeplab.visualization.drawer.STRIP_PIXELS', 1)
    assert (drawer.draw(image, segment_map, **kwargs) == whole).all()


def test_an_image_of_one_column_keeps_its_size():
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2)
    picture = drawer.draw(np.zeros((3000, 1, 3), np.uint8), np.zeros((3000, 1), int))
    assert picture.shape == (3000, 1, 3)


def test_more_classes_or_segments_than_a_map_can_hold_are_refused():
    with pytest.raises(ValueError, match='PanopticDrawer: .*at most 999 classes, not 1000'):
        PanopticDrawer(classes=['x'] * 1000, num_things_classes=0)
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2)
    many = 1000 * np.arange(1, 70001).reshape(7, 10000)
    with pytest.raises(ValueError, match='70000 segments'):
        drawer.draw(np.zeros((7, 10000, 3), np.uint8), many)
