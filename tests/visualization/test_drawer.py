import numpy as np
import pytest
from cmt_deeplab.visualization import PanopticDrawer
from cmt_deeplab.visualization.drawer import WRONG_RED, interior_point, near_border

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


def test_wrong_segments_have_a_red_border_and_crowds_light_stripes():
    image, segment_map = two_halves()
    drawer = PanopticDrawer(classes=CLASSES, num_things_classes=2, min_side=200, labels=False)
    red = (drawer.draw(image, segment_map, wrong=[1000]) == WRONG_RED).all(-1)
    assert red[:, :150].any() and not red[:, 150:].any()
    striped = (drawer.draw(image, segment_map, crowds=[1000]) == 235).all(-1)
    assert striped[:, :150].any() and not striped[:, 150:].any()


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
