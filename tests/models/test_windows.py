"""Large images are predicted window by window, and segments are joined across the borders."""

from functools import partial

import numpy as np
import pytest
import torch
from cmt_deeplab.coco_format import label_of
from cmt_deeplab.datasets.shapes import make_scene
from cmt_deeplab.datasets.shapes_canvas import ShapesPreset
from cmt_deeplab.datasets.shapes_nuclei import NucleiPreset
from cmt_deeplab.errors import UserError
from cmt_deeplab.postprocess import JoinedWindows, PanopticResult, windows_of
from cmt_deeplab.postprocess.windows import Window
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from scipy.ndimage import label as connected_parts
from small_model import COMPLETE, build_small

THINGS, CLASSES = 2, 4  # classes 2 and 3 are stuff, 4 is void


def truth_of(preset, seed: int) -> np.ndarray:
    """A map of label + 1000 x instance of a generated scene, in which every thing is connected."""
    scene = make_scene(preset, np.random.default_rng(seed))
    plane, things = np.full(scene.ids.shape, CLASSES), 0
    for info in scene.segments_info:
        mask = scene.ids == info['id']
        if info['iscrowd']:
            continue
        category = next(c for c in preset.categories if c['id'] == info['category_id'])
        if not category['isthing']:
            plane[mask] = THINGS + info['category_id'] % 2
            continue
        parts, number = connected_parts(mask, np.ones((3, 3)))
        for part in range(1, number + 1):
            things += 1
            plane[parts == part] = info['category_id'] % 2 + 1000 * things
    return plane


def perfect(plane: np.ndarray, window: Window, generator: np.random.Generator) -> PanopticResult:
    """What a model that makes no mistake finds in a window, whose instances have any numbers."""
    piece, infos = plane[window.slices], []
    found = np.full(piece.shape, CLASSES)
    values = generator.permutation(np.unique(piece[piece != CLASSES]))
    for number, value in enumerate(values.tolist(), 1):
        thing, mask = label_of(value) < THINGS, piece == value
        own = label_of(value) + 1000 * number * thing
        found[mask] = own
        info = dict(id=own, category_id=label_of(value), isthing=thing, score=0.5)
        infos.append(dict(info, area=int(mask.sum())))
    return PanopticResult(torch.from_numpy(found), infos)


def joined(plane, size, overlap=0.25, find=perfect) -> PanopticResult:
    canvas = JoinedWindows(
        plane.shape, num_things_classes=THINGS, num_classes=CLASSES, least_iou=0.5
    )
    generator = np.random.default_rng(0)
    for window in windows_of(plane.shape, size, overlap):
        canvas.add(window, find(plane, window, generator))
    return canvas.result(plane.shape)


def check_same(result: PanopticResult, plane: np.ndarray) -> None:
    """The segments are those of the plane, pixel by pixel, with their classes and areas."""
    found = result.segment_map.numpy()
    np.testing.assert_array_equal(label_of(found), label_of(plane))
    pairs = {*zip(found.ravel().tolist(), plane.ravel().tolist())}
    assert len(pairs) == len(np.unique(found)) == len(np.unique(plane))
    areas = {info['id']: info['area'] for info in result.segments_info}
    assert areas == {
        value: int((found == value).sum()) for value in np.unique(found[found != CLASSES]).tolist()
    }
    assert all(info['isthing'] == (info['category_id'] < THINGS) for info in result.segments_info)


@pytest.mark.parametrize('size', [(64, 64), (50, 71), (300, 40), (33, 129)])
@pytest.mark.parametrize(
    'preset', [ShapesPreset(size=211), NucleiPreset(size=256)], ids=['shapes', 'nuclei']
)
def test_perfect_windows_give_the_whole_truth(preset, size):
    for seed in range(1 if preset.size == 256 else 2):
        plane = truth_of(preset, seed)
        result = joined(plane, size)
        check_same(result, plane)
        assert all(info['score'] == pytest.approx(0.5) for info in result.segments_info)


def test_long_winding_segments_are_one_across_many_windows():
    plane = np.full((230, 230), 2)
    plane[115:, :], plane[10:220, 20:26], plane[10:16, 20:200] = 3, 1001, 1001  # an arch
    plane[10:220, 194:200], plane[60:64, 60:150], plane[:6, :6] = 1001, 2000, CLASSES
    check_same(joined(plane, (64, 64)), plane)
    check_same(joined(plane, (64, 64), overlap=0.5), plane)


def cut_values(plane: np.ndarray, window: Window) -> set[int]:
    """The values that touch a border of the window inside of the image."""
    piece, (height, width) = plane[window.slices], plane.shape
    borders = [piece[0]] * (window.rows[0] > 0) + [piece[-1]] * (window.rows[1] < height)
    borders += [piece[:, 0]] * (window.columns[0] > 0)
    borders += [piece[:, -1]] * (window.columns[1] < width)
    return {value for border in borders for value in border.tolist()}


def misjudged(plane, window, generator, *, wrong) -> PanopticResult:
    """As a perfect model, but cut things are seen as what ``wrong`` makes of their masks."""
    seen = plane.copy()
    for value in cut_values(plane, window):
        if label_of(value) < THINGS:
            wrong(seen, window, plane == value)
    return perfect(seen, window, generator)


def overlook(seen, window, mask):
    seen[mask] = 2


def halve(seen, window, mask):
    """A rest that lies near the border of the window, of the other class."""
    rows, columns = np.nonzero(mask)
    mask = mask & (np.add.outer(range(mask.shape[0]), range(mask.shape[1])) % 3 > 0)
    seen[mask] = 1 - label_of(seen[mask]) + 500_000


@pytest.mark.parametrize('wrong', [overlook, halve])
def test_a_thing_that_is_cut_gives_way_to_the_whole_one_of_a_neighbor(wrong):
    plane, generator = np.full((200, 220), 2), np.random.default_rng(0)
    for number in range(60):
        top, left = generator.integers(0, (190, 210))
        box = plane[top : top + 10, left : left + 10]
        if (box == 2).all():
            box[:] = number % 2 + 1000 * (number + 1)
    result = joined(plane, (60, 60), overlap=0.4, find=partial(misjudged, wrong=wrong))
    check_same(result, plane)


def two_windows(left: np.ndarray, right: np.ndarray, *scores: float) -> PanopticResult:
    """Pictures of 20 x 20 of which 10 columns overlap, joined."""
    windows = windows_of((20, 30), (20, 20), 0.5)
    canvas = JoinedWindows((20, 30), num_things_classes=2, num_classes=4, least_iou=0.5)
    for window, picture, score in zip(windows, (left, right), scores or (1.0, 1.0)):
        infos = [
            dict(id=value, category_id=label_of(value), score=score)
            for value in np.unique(picture[picture != CLASSES]).tolist()
        ]
        canvas.add(window, PanopticResult(torch.from_numpy(picture), infos))
    return canvas.result((20, 30))


def test_what_windows_share_decides_which_things_are_one_and_the_scores_are_averaged():
    left, right = np.full((20, 20), 2), np.full((20, 20), 2)
    left[2:6, 5:], right[2:6, :10] = 1000, 3000  # 15 and 10 columns: one thing of 20
    left[10:14, 15:], right[10:14, 5:15] = 2000, 2001  # other classes
    result = two_windows(left, right, 0.25, 0.75)
    found = result.segment_map.numpy()
    assert (found[2:6, 5:20] == found[2, 5]).all() and found[2, 5] != 2
    scores = {info['id']: info['score'] for info in result.segments_info}
    assert scores[int(found[2, 5])] == pytest.approx((60 * 0.25 + 40 * 0.75) / 100)
    assert scores[2] == pytest.approx((320 * 0.25 + 320 * 0.75) / 640, abs=0.01)
    # the whole one of class 1 takes its pixels; what it leaves of the cut one is part of no thing
    assert (found[10:14, 15:25] % 1000 == 1).all() and len(scores) == 3


def test_things_that_share_less_than_half_of_what_is_seen_stay_two():
    left, right = np.full((20, 20), 2), np.full((20, 20), 2)
    left[:9], right[6:] = 1000, 1000  # both cut
    found = two_windows(left, right).segment_map.numpy()
    assert found[0, 0] != found[19, 29] and {*np.unique(found).tolist()} == {2, 1000, 2000}


def test_windows_share_at_least_the_overlap_and_have_cores_that_make_the_image():
    for side in (5, 40, 41, 63, 64, 333):
        windows = windows_of((side, 7), (40, 9), 0.25)
        cores = [row for window in windows for row in range(*window.core[0])]
        assert cores == [*range(side)] and all(window.columns == (0, 7) for window in windows)
        spans = [window.rows for window in windows]
        assert all(before[1] - after[0] >= 10 for before, after in zip(spans, spans[1:]))
        assert {stop - start for start, stop in spans} == {min(side, 40)}


def images(*shapes: tuple[int, int], ori_shape=None) -> dict:
    generator, batch = torch.Generator().manual_seed(0), dict(inputs=[], data_samples=[])
    for number, shape in enumerate(shapes):
        image = torch.randint(0, 256, (3, *shape), generator=generator, dtype=torch.uint8)
        meta = dict(img_id=number, img_shape=shape, ori_shape=ori_shape or shape)
        batch['inputs'].append(image)
        batch['data_samples'].append(DetDataSample(metainfo=meta))
    return batch


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return build_small(
        **{'data_preprocessor.size': (65, 65), 'postprocess.thing_area': 0},
        **{'postprocess.stuff_area': 0, 'postprocess.thing_threshold': 0.0},
        **{'postprocess.stuff_threshold': 0.0, 'postprocess.pixel_threshold': 0.0},
    ).eval()


@pytest.fixture
def plain(model, monkeypatch):
    monkeypatch.setattr(model, 'test_windows', None)
    return model


def predicted(model, batch, step='test_step'):
    return [each.pred_panoptic_seg for each in getattr(model, step)(batch)]


@pytest.mark.parametrize('step', ['test_step', 'val_step'])
def test_images_of_one_window_are_predicted_as_without_windows(plain, step):
    shapes = (65, 65), (40, 65)
    expected = predicted(plain, images(*shapes), step)
    plain.set_test_windows()
    assert plain.test_windows['size'] == (65, 65)
    for one, other in zip(expected, predicted(plain, images(*shapes), step)):
        assert torch.equal(one.sem_seg, other.sem_seg)
        assert one.segments_info == other.segments_info and one.segments_info


def test_each_window_is_predicted_as_an_image(plain):
    batch = images((65, 120))
    (piece,) = predicted(plain, dict(images((65, 65)), inputs=[batch['inputs'][0][..., :65]]))
    plain.set_test_windows(overlap=0.1)
    (found,) = predicted(plain, batch)
    assert found.sem_seg.shape == (1, 65, 120)
    labels = label_of(found.sem_seg[0, :, :58]), label_of(piece.sem_seg[0, :, :58])
    assert (labels[0] == labels[1]).float().mean() > 0.9  # but for whole things of the neighbor
    again = predicted(plain, images((65, 120)))[0]
    assert torch.equal(found.sem_seg, again.sem_seg)


def test_a_window_larger_than_the_input_is_resized_and_the_picture_has_the_original_size(plain):
    plain.set_test_windows(size=(130, 130))
    (found,) = predicted(plain, images((140, 300), ori_shape=(70, 150)))
    assert found.sem_seg.shape == (1, 70, 150)
    assert sum(info['area'] for info in found.segments_info) <= 70 * 150


def test_without_a_size_windows_have_none_and_wrong_values_are_refused():
    free = MODELS.build(COMPLETE)
    with pytest.raises(UserError, match='test_windows has no size'):
        free.set_test_windows()
    with pytest.raises(UserError, match=r'overlap is 0.9: give a number above 0 and at most 0.5'):
        free.set_test_windows(size=(64, 64), overlap=0.9)
