import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData

META = dict(
    classes=('cat', 'grass'),
    thing_classes=('cat',),
    stuff_classes=('grass',),
    palette=[(200, 30, 30), (30, 200, 30)],
)


def sample(segment_map: np.ndarray) -> DetDataSample:
    from cmt_deeplab.datasets.packing import PanopticIndexData

    index = torch.where(torch.arange(32) < 16, 0, -1).expand(32, 32)
    result = DetDataSample()
    result.gt_panoptic_seg = PanopticIndexData(
        metainfo=dict(labels=(1,), num_classes=2), index_map=index[None].to(torch.int16)
    )
    result.pred_panoptic_seg = PixelData(sem_seg=torch.from_numpy(segment_map)[None])
    return result


@pytest.mark.parametrize('name', ['PanopticLocalVisualizer', 'DetLocalVisualizer'])
def test_our_and_mmdets_visualizer_draw_ground_truth_and_result(name, tmp_path):
    visualizer = VISUALIZERS.build(dict(type=name, name=f'test-{name}'))
    visualizer.dataset_meta = META
    segment_map = np.full((32, 32), 1)
    segment_map[8:24, 8:24] = 1000
    out = tmp_path / 'picture.png'
    visualizer.add_datasample(
        'image', np.full((32, 32, 3), 120, np.uint8), sample(segment_map), out_file=str(out)
    )
    picture = cv2.imread(str(out))
    assert (
        picture.shape[1] == 2 * picture.shape[0]
        and len(np.unique(picture.reshape(-1, 3), axis=0)) > 3
    )


def test_an_image_without_a_segment_is_drawn_too(tmp_path):
    visualizer = VISUALIZERS.build(dict(type='PanopticLocalVisualizer', name='test-empty'))
    visualizer.dataset_meta = META
    out = tmp_path / 'picture.png'
    visualizer.add_datasample(
        'image',
        np.full((32, 32, 3), 120, np.uint8),
        sample(np.full((32, 32), 2)),
        draw_gt=False,
        out_file=str(out),
    )
    assert out.is_file()
