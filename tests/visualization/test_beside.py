import cv2
import numpy as np
from cmt_deeplab.visualization import PanopticDrawer, compared_pictures, draw_beside
from cmt_deeplab.visualization.drawer import WRONG_RED

DRAWER = PanopticDrawer(classes=('cat', 'dog', 'grass'), num_things_classes=2, min_side=1)


def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image and three cats on grass, of which one is predicted as a dog and one is missed."""
    truth = np.full((90, 120), 2)
    prediction = truth.copy()
    for k, left in enumerate((5, 45, 85), start=1):
        truth[30:60, left : left + 30] = 1000 * k
    prediction[30:60, 5:35] = 7000
    prediction[30:60, 45:75] = 8001
    return np.full((90, 120, 3), 90, np.uint8), truth, prediction


def red_columns(picture: np.ndarray) -> list[int]:
    return np.flatnonzero((picture == WRONG_RED).all(-1).any(0)).tolist()


def test_matched_segments_have_one_color_and_wrong_and_missed_ones_are_red():
    image, truth, prediction = scene()
    drawn = compared_pictures(image, truth, prediction, drawer=DRAWER)
    colors = DRAWER.colors(truth)
    assert drawn.colors[7000] == colors[1000] and drawn.colors[2] == colors[2]
    assert drawn.colors[8001] not in colors.values()
    assert drawn.true_title == 'truth: 4 segments, 2 missed'
    assert drawn.predicted_title == 'prediction: 3 segments, 1 wrong'
    missed, wrong = red_columns(drawn.truth), red_columns(drawn.prediction)
    assert 45 <= min(missed) < 75 and 85 <= max(missed) < 115 and min(wrong) >= 45
    assert max(wrong) < 75 and not red_columns(drawn.image)


def test_a_crowd_that_is_not_found_is_not_missed():
    image, truth, prediction = scene()
    drawn = compared_pictures(image, truth, prediction, drawer=DRAWER, crowds=[3000])
    assert drawn.true_title == 'truth: 4 segments, 1 missed'
    assert max(red_columns(drawn.truth)) < 75
    assert (drawn.truth[30:60, 85:115] == 235).all(-1).any()  # light stripes


def test_one_side_alone_is_drawn_without_errors():
    image, truth, _ = scene()
    drawn = compared_pictures(image, truth, None, drawer=DRAWER)
    assert drawn.prediction is None and not red_columns(drawn.truth)
    assert drawn.true_title == 'truth: 4 segments'
    picture = draw_beside(image, None, truth, drawer=DRAWER)
    assert picture.shape[1] < 2.2 * image.shape[1]


def test_pictures_of_wide_images_stand_below_each_other():
    image, truth, prediction = scene()
    beside = draw_beside(image, truth, prediction, drawer=DRAWER)
    assert beside.shape[1] > 3 * 120 and beside.shape[0] < 2 * 90
    wide = [np.concatenate([array, array], axis=1) for array in (image, truth, prediction)]
    below = draw_beside(*wide, drawer=DRAWER)
    assert below.shape[1] == 240 and below.shape[0] > 3 * 90


def test_large_images_are_reduced_and_narrow_titles_stay_inside():
    image, truth, prediction = scene()
    large = [
        cv2.resize(array.astype(np.int32).astype(np.float32), (1200, 900), interpolation=0)
        for array in (image, truth, prediction)
    ]
    image, truth, prediction = large[0].astype(np.uint8), *(x.astype(int) for x in large[1:])
    drawer = PanopticDrawer(classes=DRAWER.classes, num_things_classes=2, max_side=400)
    drawn = compared_pictures(image, truth, prediction, drawer=drawer)
    assert drawn.truth.shape == drawn.image.shape == (300, 400, 3)
    name = 'a name that is much too long for a picture of four hundred pixels of width.png'
    picture = draw_beside(image, truth, prediction, drawer=drawer, name=name)
    assert (picture[:15, 396:400] == 255).all()  # the name ends before the next title begins
