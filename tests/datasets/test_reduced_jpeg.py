"""A JPEG that a jitter shrinks is decoded at a part of its size, and nothing else changes."""

import json

import cv2
import numpy as np
import pytest
from cmt_deeplab.datasets import PanopticIndexDataset
from cmt_deeplab.errors import UserError
from mmengine.dataset import Compose
from small_panoptic import CATEGORIES, write_ids

HEIGHT, WIDTH = 403, 600  # no multiples of 2, 4 and 8
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadPanopticIndexMap')]


@pytest.fixture
def root(tmp_path):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    image = np.stack([x / 3, y / 2, 128 + 60 * np.sin(x / 25) * np.cos(y / 30)], -1)
    cv2.imwrite(str(tmp_path / '1.jpg'), image.astype(np.uint8))
    plane = np.where(x > 3 * y // 2, 9, 8)
    write_ids(tmp_path / '1.png', plane)
    segments = [dict(id=9, category_id=4), dict(id=8, category_id=3)]
    content = dict(
        images=[dict(id=1, file_name='1.jpg', height=HEIGHT, width=WIDTH)],
        annotations=[dict(image_id=1, file_name='1.png', segments_info=segments)],
        categories=CATEGORIES,
    )
    (tmp_path / 'truth.json').write_text(json.dumps(content))
    return tmp_path


def sample(root, pipeline: list[dict], seed: int = 0, **options) -> dict:
    dataset = PanopticIndexDataset(
        data_root=str(root), ann_file='truth.json', pipeline=[], **options
    )
    np.random.seed(seed)
    return Compose(pipeline)(dict(dataset.get_data_info(0), dataset=dataset))


@pytest.mark.parametrize('options', [dict(image_size=(600, 600)), dict(own_scale=True)])
@pytest.mark.parametrize('factor, part', [(0.9, 1), (0.49, 2), (0.249, 4), (0.1, 8), (0.07, 8)])
def test_the_pixels_are_nearly_those_of_a_full_decoding(root, factor, part, options):
    jitter = dict(scale_range=(factor, factor), crop_size=(600, 600))
    full = sample(root, [*LOAD, dict(type='PanopticLargeScaleJitter', **jitter)], **options)
    draw = dict(type='PanopticDrawScale', **jitter)
    loaded = sample(root, [draw, *LOAD], **options)
    assert loaded['img'].shape == (-(-HEIGHT // part), -(-WIDTH // part), 3)
    later = dict(type='PanopticLargeScaleJitter', crop_size=(600, 600))
    reduced = sample(root, [draw, *LOAD, later], **options)
    for key in ('img_shape', 'ori_shape', 'scale_factor'):
        assert reduced[key] == full[key]
    assert np.array_equal(reduced['gt_index_map'], full['gt_index_map'])
    difference = np.abs(reduced['img'].astype(int) - full['img'])
    assert difference.max() == 0 if part == 1 else 0 < difference.mean() < 3
    assert not {'reduced_by', 'reducible_by', 'drawn_factor'} & reduced.keys()


def test_what_comes_afterwards_draws_as_before(root):
    jitter = dict(scale_range=(0.2, 2.0), crop_size=(129, 129))
    rest = [dict(type='PanopticColorJitter'), dict(type='PanopticRandomFlip')]
    copy = dict(type='PanopticCopyPaste', pipeline=[])
    plain = [*LOAD, dict(type='PanopticLargeScaleJitter', **jitter), *rest]
    drawn = [dict(type='PanopticDrawScale', **jitter), *plain]
    for seed in range(2):
        one, other = (
            sample(root, [*steps, dict(copy, pipeline=steps)], seed) for steps in (plain, drawn)
        )
        assert np.array_equal(one['gt_index_map'], other['gt_index_map'])


def test_a_crop_in_between_is_refused(root):
    steps = [
        dict(type='PanopticDrawScale', scale_range=(0.2, 0.2), crop_size=(600, 600)),
        *LOAD,
        dict(type='PanopticRandomCrop', crop_size=(50, 50)),
        dict(type='PanopticLargeScaleJitter', crop_size=(600, 600)),
    ]
    with pytest.raises(UserError, match='put PanopticLargeScaleJitter before it'):
        sample(root, steps)


def test_a_move_in_between_is_refused_when_the_data_set_is_built(root):
    draw, later = dict(type='PanopticDrawScale'), dict(type='PanopticLargeScaleJitter')
    move = dict(type='Rotate', prob=1.0, level=5)
    moves = dict(type='PanopticGeometricTransforms', transforms=[move])
    colors, pack = dict(type='PhotoMetricDistortion'), dict(type='PackPanopticInputs')

    def build(*pipeline) -> PanopticIndexDataset:
        return PanopticIndexDataset(
            data_root=str(root), ann_file='truth.json', image_size=(64, 64), pipeline=[*pipeline]
        )

    build(draw, *LOAD, colors, later, moves, pack)
    with pytest.raises(UserError, match=r'^Rotate of PanopticGeom.*LargeScaleJitter before it, as'):
        build(draw, *LOAD, moves, later, pack)
