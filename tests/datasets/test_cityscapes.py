"""Cityscapes as cityscapesScripts lays it out, on two small scenes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config

CONFIG = (
    Path(__file__).resolve().parents[2]
    / 'configs'
    / '_base_'
    / 'datasets'
    / 'cityscapes_panoptic_index.py'
)
CATEGORIES = [
    dict(id=7, name='road', supercategory='flat', color=[128, 64, 128], isthing=0),
    dict(id=24, name='person', supercategory='human', color=[220, 20, 60], isthing=1),
]


@pytest.fixture
def root(tmp_path):
    """One image per split: a road (7) with a person (24001), ids as in cityscapesScripts."""
    for split, city in (('train', 'aachen'), ('val', 'lindau')):
        name = f'{city}_000000_000019'
        (tmp_path / 'leftImg8bit' / split / city).mkdir(parents=True)
        cv2.imwrite(
            str(tmp_path / 'leftImg8bit' / split / city / f'{name}_leftImg8bit.png'),
            np.full((32, 64, 3), 90, np.uint8),
        )
        ids = np.full((32, 64), 7)
        ids[8:24, 16:32] = 24001
        folder = tmp_path / 'gtFine' / f'cityscapes_panoptic_{split}'
        folder.mkdir(parents=True)
        colors = np.stack([ids // 65536, ids // 256 % 256, ids % 256], axis=-1).astype(
            np.uint8
        )  # B, G, R for OpenCV
        cv2.imwrite(str(folder / f'{name}_gtFine_panoptic.png'), colors)
        segments = [
            dict(id=7, category_id=7, area=1792, bbox=[0, 0, 64, 32], iscrowd=0),
            dict(id=24001, category_id=24, area=256, bbox=[16, 8, 16, 16], iscrowd=0),
        ]
        content = dict(
            images=[dict(id=name, width=64, height=32, file_name=f'{name}_gtFine_leftImg8bit.png')],
            categories=CATEGORIES,
            annotations=[
                dict(image_id=name, file_name=f'{name}_gtFine_panoptic.png', segments_info=segments)
            ],
        )
        (folder.parent / f'cityscapes_panoptic_{split}.json').write_text(json.dumps(content))
    return tmp_path


@pytest.mark.parametrize('split', ['train', 'val'])
def test_reads_the_official_layout(root, split):
    whole = Config.fromfile(str(CONFIG))
    config = whole[f'{split}_dataloader'].dataset
    config.update(data_root=str(root), image_size=(33, 65))
    if split == 'train':  # without random scale, crop and copy-paste
        config.pipeline = [*whole.load, whole.pack]
    dataset = DATASETS.build(config)
    assert len(dataset.metainfo['classes']) == 19 and len(dataset) == 1
    item = dataset[0]
    sample = item['data_samples']
    assert sample.gt_segments.labels.tolist() == [8, 0], (
        'road is the first stuff class, person the first thing'
    )
    if split == 'val':  # neither resized nor cropped: 1024x2048 fits the padded size
        assert tuple(item['inputs'].shape) == (3, 32, 64)
        assert (sample.gt_panoptic_seg.index_map[0] == 1).sum() == 256


def test_names_the_image_that_is_not_there(root):
    (root / 'leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png').unlink()
    config = Config.fromfile(str(CONFIG)).train_dataloader.dataset
    config.update(data_root=str(root))
    with pytest.raises(FileNotFoundError, match='no file .*aachen_000000_000019_leftImg8bit.png'):
        DATASETS.build(config).full_init()
