"""mmcv's and mmdet's geometric transforms on image and plane: both lie where they lay."""

import random

import numpy as np
import pytest
from cmt_deeplab.datasets.coordinate_scene import lies_elsewhere, make_scene
from cmt_deeplab.errors import UserError
from mmdet.registry import TRANSFORMS

EVERYWHERE = dict(crop_size=(40, 50))
GEOMETRIC = [
    dict(type='RandomFlip', prob=0.6, direction=['horizontal', 'vertical']),
    dict(type='Rotate'),
    dict(type='ShearX'),
    dict(type='ShearY'),
    dict(type='TranslateX'),
    dict(type='TranslateY'),
    dict(type='AutoAugment'),
    dict(type='RandAugment'),
    dict(type='Resize', scale=(301, 157), keep_ratio=True),
    dict(type='Resize', scale=(31, 97), keep_ratio=False),
    dict(type='RandomResize', scale=(90, 90), ratio_range=(0.3, 4.0), keep_ratio=True),
    dict(type='RandomChoiceResize', scales=[(40, 50), (170, 160)], keep_ratio=True),
    dict(type='ResizeShortestEdge', scale=50, max_size=100),
    dict(type='FixShapeResize', width=90, height=90, keep_ratio=True),
    dict(type='FixScaleResize', scale=(50, 100), keep_ratio=True),
    dict(type='RandomCrop', **EVERYWHERE),
    dict(type='CenterCrop', **EVERYWHERE),
    dict(type='Pad', size_divisor=32),
    dict(type='Expand'),
    dict(type='RandomApply', transforms=[dict(type='Rotate')], prob=0.5),
    dict(type='RandomChoice', transforms=[[dict(type='Rotate')], [dict(type='Invert')]]),
]


def wrapper(*transforms):
    return TRANSFORMS.build(dict(type='PanopticGeometricTransforms', transforms=list(transforms)))


def sample(scene, which=0, num_segments=8):
    return dict(
        img=scene.images[which].copy(),
        img_shape=scene.plane.shape,
        ori_shape=scene.plane.shape,
        gt_index_map=scene.plane.copy(),
        gt_segments_info=[dict(id=k + 1) for k in range(num_segments)],
    )


def seeded(transform, results, seed):
    random.seed(seed)
    np.random.seed(seed)
    return transform(results)


@pytest.mark.parametrize('config', GEOMETRIC, ids=lambda config: config['type'])
def test_the_plane_goes_where_the_image_goes(config):
    scene, transform = make_scene(9, 11, (7, 7)), wrapper(config)
    before = sample(scene)
    changed = 0
    for seed in range(25):
        first, second = (seeded(transform, sample(scene, which), seed) for which in (0, 1))
        plane = first['gt_index_map']
        assert plane.dtype == np.int16 and plane.shape == first['img'].shape[:2]
        assert tuple(first['img_shape'][:2]) == plane.shape
        assert set(np.unique(plane)) <= set(range(-1, 8))
        assert not lies_elsewhere((first['img'], second['img']), plane >= 0), seed
        assert 'gt_seg_map' not in first
        changed += plane.shape != before['gt_index_map'].shape or (plane != scene.plane).any()
    assert changed > 5


def test_void_is_told_from_segment_255():
    """mmdet fills with 255, which is also the number of a segment here."""
    plane = np.arange(300, dtype=np.int16).reshape(15, 20)
    results = dict(
        img=np.zeros((15, 20, 3), np.uint8),
        img_shape=(15, 20),
        gt_index_map=plane,
        gt_segments_info=[dict(id=k + 1) for k in range(300)],
    )
    padded = wrapper(dict(type='Pad', size=(20, 25)))(results)['gt_index_map']
    assert (padded[:15] == plane).all() and (padded[15:] == -1).all()
    assert (plane == np.arange(300).reshape(15, 20)).all(), 'the given plane is not changed'


def test_a_resize_takes_the_pixel_under_the_center():
    """mmcv's own resize of a class map lies half a cell beside the image."""
    scene = make_scene(9, 11, (7, 7))
    factor = 6
    out = wrapper(dict(type='Resize', scale_factor=float(factor)))(sample(scene))
    assert (out['gt_index_map'] == np.kron(scene.plane, np.ones((factor, factor)))).all()
    assert out['scale_factor'] == pytest.approx((factor, factor))


def test_what_it_refuses():
    scene = make_scene(9, 11, (7, 7))

    def half_size(results):
        results['img'] = results['img'][::2]
        return results

    def fill(results):
        results['gt_seg_map'][:4] = 200
        return results

    with pytest.raises(UserError, match='put LoadPanopticIndexMap before it'):
        wrapper(dict(type='RandomFlip', prob=0.5))(dict(img=scene.images[0]))
    with pytest.raises(UserError, match='put it before IndexMapToMasks'):
        wrapper(dict(type='RandomFlip', prob=0.5))(dict(sample(scene), gt_seg_map=scene.plane))
    with pytest.raises(UserError, match='function changes the size of the image'):
        wrapper(half_size)(sample(scene))
    with pytest.raises(UserError, match='that are no segment .*seg_ignore_label=255'):
        wrapper(fill)(sample(scene))
    assert wrapper(lambda results: None)(sample(scene)) is None
