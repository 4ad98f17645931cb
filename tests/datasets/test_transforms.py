"""Transforms on image and index plane: geometry, indices and packing."""

import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.coco_format import colors_of_ids, ids_of_colors
from cmt_deeplab.datasets import (
    PackPanopticInputs,
    PanopticColorJitter,
    PanopticCopyPaste,
    PanopticIndexDataset,
    PanopticLargeScaleJitter,
    PanopticRandomCrop,
    PanopticRandomFlip,
    PanopticResize,
)
from cmt_deeplab.datasets.index_plane import index_plane, present_segments, renumber, resize_plane
from cmt_deeplab.errors import UserError
from cmt_deeplab.planes import PlaneRuns, runs
from mmdet.registry import TRANSFORMS


def segment(label, *, crowd=False, id=1, num_things=3):
    return dict(
        label=label,
        is_crowd=crowd,
        of_thing_class=label < num_things,
        id=id,
        category_id=label + 10,
    )


def blocks(h=60, w=80):
    """Four quadrants 0..3 and a void square.

    The blue channel of the image is the index + 1, green is the row, red the column.
    """
    plane = np.zeros((h, w), np.int16)
    plane[: h // 2, w // 2 :], plane[h // 2 :, : w // 2], plane[h // 2 :, w // 2 :] = 1, 2, 3
    plane[:10, :10] = -1
    rows, columns = np.mgrid[:h, :w]
    image = np.stack([plane + 1, rows, columns], axis=-1).astype(np.uint8)
    return dict(
        img=image,
        img_shape=(h, w),
        ori_shape=(h, w),
        num_classes=5,
        gt_index_map=plane,
        img_id=3,
        gt_segments_info=[segment(k, id=100 + k) for k in range(4)],
    )


def test_plane_against_pixelwise_reference():
    rng = np.random.default_rng(0)
    ids = [7, 300, 70000, 16777215, 2]
    pixels = rng.choice([0, 9, *ids[:-1]], (31, 47), p=[0.2, 0.05, 0.2, 0.2, 0.2, 0.15])
    png = np.stack([pixels & 255, pixels >> 8 & 255, pixels >> 16], axis=-1).astype(np.uint8)
    assert (ids_of_colors(png) == pixels).all()
    assert (colors_of_ids(pixels) == png).all()
    plane, unknown, unseen = index_plane(PlaneRuns.of(ids_of_colors(png)), ids)
    assert plane.dtype == np.int16 and list(unknown) == [9] and list(unseen) == [2]
    for k, id_ in enumerate(ids):
        assert ((plane == k) == (pixels == id_)).all()
    assert ((plane == -1) == np.isin(pixels, [0, 9])).all()


def test_no_segments_and_runs():
    plane, unknown, unseen = index_plane(PlaneRuns.of(np.zeros((4, 5), np.uint32)), [])
    assert (plane == -1).all() and len(unknown) == len(unseen) == 0
    assert (
        present_segments(plane, 0).shape == (0,)
        and (renumber(plane, np.zeros(0, np.int16)) == -1).all()
    )
    values, lengths = runs(np.array([[1, 1, 2], [2, 2, 3]]))
    assert list(values) == [1, 2, 3] and list(lengths) == [2, 3, 1]


@pytest.mark.parametrize('size', [(30, 41), (97, 131), (60, 160), (60, 80)])
def test_resize_takes_the_pixel_under_the_center(size):
    plane = np.random.default_rng(1).integers(-1, 30, (60, 80)).astype(np.int16)
    rows, columns = (((np.arange(n) + 0.5) * old / n) for n, old in zip(size, plane.shape))
    expected = plane[rows.astype(int)][:, columns.astype(int)]
    differs = resize_plane(plane, *size) != expected
    # Centers that fall on a pixel border exactly may go either way.
    border = (abs(rows - rows.round()) < 1e-3)[:, None] | (abs(columns - columns.round()) < 1e-3)[
        None
    ]
    assert not differs[~border].any()


def test_resize_keeps_image_and_plane_aligned():
    """A step in the image and one in the plane lie at the same place after an odd factor.

    With the mask resize of mmcv they do not.
    """
    results = blocks(61, 83)
    results['img'][..., 0] = np.where(results['gt_index_map'] == 3, 200, 0)
    out = PanopticResize(size=(333, 333))(results)
    height, width = out['img_shape']
    assert (height, width) == out['gt_index_map'].shape == out['img'].shape[:2] == (245, 333)
    assert out['scale_factor'] == pytest.approx((333 / 83, 245 / 61))
    difference = (out['img'][..., 0] > 95) != (
        out['gt_index_map'] == 3
    )  # half of 200, less what rounding takes
    assert difference.sum() <= 4
    shifted = cv2.resize(
        blocks(61, 83)['gt_index_map'], (width, height), interpolation=cv2.INTER_NEAREST
    )
    assert ((out['img'][..., 0] > 95) != (shifted == 3)).sum() > 100 or (
        shifted == out['gt_index_map']
    ).all()


@pytest.mark.parametrize(
    'shape, size, expected',
    [
        ((60, 80), (97, 97), (73, 97)),
        ((80, 60), (97, 97), (97, 73)),
        ((50, 200), (100, 200), (50, 200)),
        ((200, 50), (100, 200), (100, 25)),
    ],
)
def test_resize_fits_the_box(shape, size, expected):
    out = PanopticResize()(dict(img=np.zeros((*shape, 3), np.uint8), image_size=size))
    assert out['img'].shape[:2] == expected


def test_images_at_their_own_scale_are_not_fitted_into_the_image_size():
    image, info = np.zeros((200, 300, 3), np.uint8), dict(image_size=(64, 64), own_scale=True)
    assert PanopticResize()(dict(info, img=image))['img'].shape == image.shape
    jitter = PanopticLargeScaleJitter(scale_range=(0.5, 0.5))
    out = jitter(dict(info, img=image))
    assert out['img'].shape == (64, 64, 3) and out['scale_factor'] == (0.5, 0.5)


def test_size_comes_from_somewhere():
    with pytest.raises(
        ValueError, match='PanopticLargeScaleJitter has no size: give it one .*or give image_size'
    ):
        PanopticLargeScaleJitter()(blocks())
    for wrong in ([641], 641, (641, 0), (1, 2, 3), 'large'):
        with pytest.raises(UserError, match='PanopticResize is .*: give .height, width. in pixels'):
            PanopticResize(size=wrong)
        with pytest.raises(UserError, match='image_size of the data set is'):
            PanopticIndexDataset(image_size=wrong, lazy_init=True)


def test_flip():
    results = PanopticRandomFlip(prob=1.0)(blocks())
    before = blocks()
    assert (results['img'] == before['img'][:, ::-1]).all() and (
        results['gt_index_map'] == before['gt_index_map'][:, ::-1]
    ).all()
    assert results['flip'] and results['flip_direction'] == 'horizontal'
    assert not PanopticRandomFlip(prob=0.0)(blocks())['flip']


def test_crop_moves_both_alike():
    np.random.seed(0)
    corners = set()
    for _ in range(20):
        out = PanopticRandomCrop(crop_size=(25, 200))(blocks())
        assert out['img'].shape == (25, 80, 3) and out['img_shape'] == (25, 80)
        assert (out['img'][..., 0] == out['gt_index_map'] + 1).all()
        corners.add(int(out['img'][0, 0, 1]))
    assert len(corners) > 5


def test_large_scale_jitter_covers_its_range():
    np.random.seed(0)
    scales, sizes = [], []
    for _ in range(60):
        out = PanopticLargeScaleJitter(crop_size=(65, 65), scale_range=(0.3, 1.7))(blocks())
        scales.append(out['scale_factor'][0] / (65 / 80))
        sizes.append(out['img'].shape[:2])
        assert out['gt_index_map'].shape == out['img'].shape[:2]
        inside = out['img'][..., 0] == out['gt_index_map'] + 1  # bilinear mixes at borders only
        assert inside.mean() > 0.75
    assert min(scales) < 0.45 and max(scales) > 1.5 and max(map(max, sizes)) == 65
    with pytest.raises(ValueError, match='no range'):
        PanopticLargeScaleJitter(scale_range=(2, 1))


@pytest.mark.parametrize(
    'scale_range, step, expected',
    [
        ((0.3, 1.7), 0.1, np.arange(3, 18) / 10),  # the kMaX recipes of deeplab2
        ((0.15, 0.85), 0.1, np.arange(15, 86, 10) / 100),  # halved for the partner of copy-paste
        ((0.5, 2.0), 0.1, np.linspace(0.5, 2.0, 15)),  # on Cityscapes: 14.99 steps in fp32
        ((0.5, 1.5), 0.1, np.linspace(0.5, 1.5, 10)),  # of MaX-DeepLab
        ((0.5, 2.0), 0.4, (0.5, 1.0, 1.5, 2.0)),  # int(1.5 / 0.4 + 1) values, evenly
        ((1.0, 1.0), 0.1, (1.0,)),
    ],
)
def test_large_scale_jitter_in_steps(scale_range, step, expected):
    """As ``get_random_scale`` of deeplab2: evenly spaced values, both ends among them."""
    np.random.seed(0)
    jitter = PanopticLargeScaleJitter(scale_range=scale_range, scale_step=step)
    drawn = [jitter._factor() for _ in range(300)]
    assert sorted(set(np.round(drawn, 9))) == pytest.approx(list(expected))
    with pytest.raises(UserError, match='is no step'):
        PanopticLargeScaleJitter(scale_step=0)


def test_color_jitter_against_floating_point():
    """Each step against the formula, one at a time."""
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)

    def run(draw):
        jitter = PanopticColorJitter()
        jitter._draw = lambda: draw
        return jitter(dict(img=image.copy()))['img'].astype(float)

    assert (run((0.0, 1.0, 1.0, 0.0, False)) == image).all()
    assert abs(run((20.0, 1.0, 1.0, 0.0, True)) - (image + 20.0).clip(0, 255)).max() == 0
    assert abs(run((0.0, 1.3, 1.0, 0.0, True)) - (image * 1.3).clip(0, 255)).max() <= 0.5
    assert (
        abs(run((10.0, 0.7, 1.0, 0.0, False)) - (image + 10.0).clip(0, 1e9) * 0.7).max() <= 8
    )  # clipping happens once, at the end
    gray = run(
        (0.0, 1.0, 0.0, 0.0, False)
    )  # no saturation: every channel is the largest of the three
    assert abs(gray - image.max(-1, keepdims=True)).max() <= 1
    turned = run((0.0, 1.0, 1.0, 360.0, False))
    assert (
        abs(turned - image).mean() < 3
    )  # a whole turn of the hue changes nothing but 8-bit rounding
    np.random.seed(0)
    out = [PanopticColorJitter()(dict(img=image))['img'] for _ in range(10)]
    assert all(o.dtype == np.uint8 for o in out) and len({o.tobytes() for o in out}) > 5


def test_packing_for_training_drops_crowds_and_what_is_gone():
    results = blocks()
    results['gt_segments_info'] = [
        segment(0, id=100),
        segment(1, crowd=True, id=101),
        segment(4, id=102),
        segment(2, id=103),
        segment(3, id=104),
    ]
    plane = results['gt_index_map'].copy()
    packed = PackPanopticInputs()(results)
    sample = packed['data_samples']
    index = sample.gt_panoptic_seg.index_map
    assert packed['inputs'].shape == (3, 60, 80) and packed['inputs'].dtype == torch.uint8
    assert (packed['inputs'].permute(1, 2, 0).numpy() == results['img']).all()
    assert index.shape == (1, 60, 80) and index.dtype == torch.int16
    assert sample.gt_segments.labels.tolist() == [0, 4, 2] and sample.gt_segments.ids.tolist() == [
        100,
        102,
        103,
    ]
    assert sample.gt_segments.is_crowd.tolist() == [False] * 3
    expected = np.full(plane.shape, -1)
    for new, old in enumerate((0, 2, 3)):
        expected[plane == old] = new
    assert (index[0].numpy() == expected).all()
    sem_seg = sample.gt_panoptic_seg.sem_seg
    assert sem_seg.shape == (1, 60, 80)
    assert np.unique(sem_seg).tolist() == [5, 1000, 2004, 3002]  # void is the number of classes
    assert ((sem_seg == 2004) == (index == 1).numpy()).all()
    assert (sample.numpy().gt_panoptic_seg.sem_seg == sem_seg).all()


def test_packing_for_evaluation_keeps_everything():
    results = blocks()
    results['gt_segments_info'][1]['is_crowd'] = True
    results = PanopticResize(size=(97, 97))({**results, 'gt_index_map': results['gt_index_map']})
    with pytest.raises(
        ValueError, match='for evaluation put LoadPanopticIndexMap after the resize'
    ):
        PackPanopticInputs(crowd_as_void=False)(results)
    results['gt_index_map'] = blocks()['gt_index_map']
    sample = PackPanopticInputs(crowd_as_void=False)(results)['data_samples']
    assert sample.gt_segments.is_crowd.tolist() == [False, True, False, False]
    assert (sample.gt_panoptic_seg.index_map[0].numpy() == blocks()['gt_index_map']).all()
    assert sample.ori_shape == (60, 80) and sample.img_shape == (73, 97)
    with pytest.raises(ValueError, match='in a training pipeline put LoadPanopticIndexMap before'):
        PackPanopticInputs()(results)


def test_packing_without_segments_or_truth():
    results = blocks()
    results['gt_index_map'][:], results['gt_segments_info'] = -1, []
    sample = PackPanopticInputs()(results)['data_samples']
    assert (
        sample.gt_segments.labels.shape == (0,) and sample.gt_segments.is_crowd.dtype == torch.bool
    )
    assert (sample.gt_panoptic_seg.sem_seg == 5).all()
    plain = PackPanopticInputs()(dict(img=results['img'], ori_shape=(60, 80)))['data_samples']
    assert 'gt_panoptic_seg' not in plain


class Pair:
    """A data set of one other image: a thing at the left, stuff at the right, a crowd below."""

    def __init__(self, height=50, width=70):
        self.size = height, width

    def __len__(self):
        return 1

    def get_data_info(self, idx):
        h, w = self.size
        plane = np.zeros((h, w), np.int16)
        plane[:, w // 2 :], plane[h * 4 // 5 :] = 1, 2
        return dict(
            img=np.full((h, w, 3), 250, np.uint8),
            img_shape=(h, w),
            image_size=(100, 100),
            gt_index_map=plane,
            gt_segments_info=[segment(1, id=5), segment(4, id=6), segment(2, crowd=True, id=7)],
        )


class Everything(PanopticCopyPaste):
    """Pastes all that may be pasted."""

    def _choose(self, plane, segments):
        return np.array([not s['is_crowd'] for s in segments])


def test_copy_paste():
    results = {**blocks(), 'dataset': Pair()}
    results['gt_segments_info'][2].update(label=4, of_thing_class=False)
    image, plane = results['img'], results['gt_index_map'].copy()
    out = Everything(pipeline=[])(results)
    new = out['gt_index_map']
    assert [s['id'] for s in out['gt_segments_info']] == [100, 101, 102, 103, 5]
    assert (new[:40, :35] == 4).all(), 'the thing is a new segment'
    assert (new[:40, 35:70] == 2).all(), 'stuff of class 4 joins stuff of class 4'
    rest = np.ones_like(plane, bool)
    rest[:40, :70] = False
    assert (new[rest] == plane[rest]).all(), 'a crowd is not pasted'
    assert (out['img'][~rest] == 250).all() and (out['img'][rest] == image[rest]).all()
    assert (plane == blocks()['gt_index_map']).all() and out['img'] is not image
    sample = PackPanopticInputs()(out)['data_samples']
    assert sample.gt_segments.labels.tolist() == [1, 4, 3, 1]  # what is wholly covered is gone


def test_copy_paste_beyond_the_first_image():
    """Both sources paste on the padded crop, so a small image does not cut its partner."""
    out = Everything(pipeline=[])({**blocks(), 'dataset': Pair(height=100, width=40)})
    assert out['img'].shape == (100, 80, 3) and out['img_shape'] == (100, 80)
    new = out['gt_index_map']
    assert (new[:80, :20] == 4).all(), 'the thing reaches below the first image'
    assert (new[80:, :40] == -2).all() and (new[60:, 40:] == -2).all(), 'the rest is padding'
    assert (out['img'][60:, 40:] == 128).all()
    sample = PackPanopticInputs()(out)['data_samples']
    assert sample.gt_panoptic_seg.index_map.unique().tolist() == [-2, 0, 1, 2, 3]
    assert (sample.gt_panoptic_seg.sem_seg[0, 80:, :40] == 5).all()
    masks = TRANSFORMS.build(dict(type='IndexMapToMasks'))(out)
    assert (masks['gt_seg_map'][80:, :40] == 255).all()


def test_copy_paste_takes_all_things_and_a_part_of_the_rest():
    """On every image all things but crowds, and half of the other segments on average."""
    np.random.seed(0)
    pasted = []
    for _ in range(60):
        out = PanopticCopyPaste(pipeline=[])({**blocks(), 'dataset': Pair()})
        pasted.append({s['id'] for s in out['gt_segments_info']} - {100, 101, 102, 103})
    assert all(5 in ids and 7 not in ids for ids in pasted)
    assert 15 < sum(6 in ids for ids in pasted) < 45
    never = PanopticCopyPaste(pipeline=[], prob=0.0)({**blocks(), 'dataset': Pair()})
    assert len(never['gt_segments_info']) == 4


def test_copy_paste_draws_the_number_of_segments_uniformly():
    """As in both sources: of n segments without things, each number from 0 to n is as likely."""
    np.random.seed(0)
    plane, segments = np.arange(4, dtype=np.int16)[None], [segment(4, id=k) for k in range(4)]
    copy_paste = PanopticCopyPaste(pipeline=[])
    numbers = [int(copy_paste._choose(plane, segments).sum()) for _ in range(500)]
    assert np.bincount(numbers, minlength=5).min() > 60  # independent coins give 0 in 1 of 16


def test_copy_paste_halves_the_scale_range_of_the_partner():
    jitter = dict(type='PanopticLargeScaleJitter', scale_range=(0.4, 2.0))
    copy_paste = PanopticCopyPaste(pipeline=[jitter])
    assert copy_paste.pipeline.transforms[0].scale_range == (0.2, 1.0)
    np.random.seed(0)
    for _ in range(20):
        info = Pair(height=100, width=100).get_data_info(0)
        assert max(copy_paste.pipeline(info)['img'].shape) <= 100
    assert jitter['scale_range'] == (0.4, 2.0), 'the config stays as it is'


def test_copy_paste_errors():
    with pytest.raises(UserError, match='train with the type PanopticIndexDataset'):
        PanopticCopyPaste(pipeline=[])(blocks())
    broken = {**blocks(), 'dataset': Pair()}
    del broken['gt_index_map']
    with pytest.raises(UserError, match='put LoadPanopticIndexMap before it'):
        PanopticCopyPaste(pipeline=[])(broken)
    mixed = {**blocks(), 'dataset': Pair()}
    mixed['img'] = mixed['img'].astype(np.float32)  # OpenCV would paste nothing, without a word
    with pytest.raises(UserError, match='mixes images of float32 and uint8'):
        PanopticCopyPaste(pipeline=[])(mixed)
