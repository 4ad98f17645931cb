"""plane_ceiling.py: a plane of full size loses nothing, a coarser one does."""

from pathlib import Path

import pytest
import torch
from cmt_deeplab.analysis.config_model import load_config
from cmt_deeplab.analysis.plane_ceiling import confident_logits, plane_ceiling

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


@pytest.fixture(scope='module')
def config(shapes_root):
    config = load_config(str(CONFIGS / 'cmt_deeplab' / 'cmt-deeplab_tiny_shapes.py'))
    config.val_dataloader.dataset.data_root = f'{shapes_root}/'
    for key in ('ann_file', 'seg_prefix'):
        path = config.val_evaluator[key].replace('data/shapes', str(shapes_root))
        config.val_evaluator[key] = path
    config.model.postprocess.update(thing_area=0, stuff_area=0)
    return config


def test_the_ceiling_falls_with_the_stride(config):
    figures = [plane_ceiling(config, stride)['coco_panoptic/PQ'] for stride in (1, 4, 8)]
    assert figures[0] == pytest.approx(100, abs=0.01)
    assert figures[0] > figures[1] > figures[2] > 10


def test_logits_are_those_of_the_plane():
    plane = torch.tensor([[0, 1], [-1, -2]], dtype=torch.int16)
    masks, classes = confident_logits(plane, torch.tensor([4, 2]), num_classes=5)
    assert masks.argmax(0).tolist() == [[0, 1], [2, 2]], 'the last center takes void and padding'
    assert classes.argmax(1).tolist() == [4, 2, 5]
