import cv2
import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData, PixelData

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
    parts = 2 if name == 'DetLocalVisualizer' else 3  # ours shows the image, too
    assert picture.shape[1] >= parts * min(picture.shape[0], 384)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 3


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


@pytest.mark.parametrize('absent', ['gt_panoptic_seg', 'pred_panoptic_seg'])
def test_truth_or_prediction_alone_stands_beside_the_image(absent, tmp_path):
    visualizer = VISUALIZERS.build(dict(type='PanopticLocalVisualizer', name=f'test-{absent}'))
    visualizer.dataset_meta = META
    out, image = tmp_path / 'picture.png', np.full((32, 32, 3), 120, np.uint8)
    result = sample(np.full((32, 32), 1))
    delattr(result, absent)
    visualizer.add_datasample('image', image, result, out_file=str(out))
    assert 2 * 384 <= cv2.imread(str(out)).shape[1] < 2.2 * 384


def test_each_process_of_a_test_draws_its_share(tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda group=None: False)
    visualizer = VISUALIZERS.build(dict(type='PanopticLocalVisualizer', name='test-share'))
    visualizer.dataset_meta = META
    out, image = tmp_path / 'picture.png', np.full((32, 32, 3), 120, np.uint8)
    visualizer.add_datasample('image', image, sample(np.full((32, 32), 1)), out_file=str(out))
    assert cv2.imread(str(out)) is not None


def test_instances_and_a_semantic_map_are_not_drawn_over_the_panoptic_map(tmp_path):
    visualizer = VISUALIZERS.build(dict(type='PanopticLocalVisualizer', name='test-forms'))
    visualizer.dataset_meta = META
    image = np.full((32, 32, 3), 120, np.uint8)
    segment_map = np.full((32, 32), 1)
    segment_map[8:24, 8:24] = 1000
    plain = sample(segment_map)
    full = plain.clone()
    full.pred_sem_seg = PixelData(sem_seg=torch.from_numpy(segment_map % 1000)[None])
    full.pred_instances = InstanceData(
        masks=torch.from_numpy(segment_map == 1000)[None],
        bboxes=torch.tensor([[8.0, 8, 24, 24]]),
        labels=torch.tensor([0]),
        scores=torch.tensor([0.9]),
    )
    pictures = []
    for number, result in enumerate((plain, full)):
        visualizer.add_datasample('image', image, result, out_file=str(tmp_path / f'{number}.png'))
        pictures.append(cv2.imread(str(tmp_path / f'{number}.png')))
    assert (pictures[0] == pictures[1]).all()
    assert 'pred_instances' in full and 'pred_sem_seg' in full  # the sample keeps all


def test_a_named_palette_that_is_too_short_is_refused():
    visualizer = VISUALIZERS.build(dict(type='PanopticLocalVisualizer', name='test-palette'))
    names = tuple(f'class {i}' for i in range(300))
    visualizer.dataset_meta = dict(classes=names, thing_classes=names, palette='coco')
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(UserError, match="palette 'coco' of 300 colors"):
        visualizer.add_datasample('image', image, sample(np.full((32, 32), 1)), draw_gt=False)


def test_matplotlib_renders_only_what_it_has_drawn(monkeypatch):
    visualizer = VISUALIZERS.build(dict(type='PanopticLocalVisualizer', name='test-get-image'))
    visualizer.dataset_meta = META
    image = np.random.default_rng(0).integers(0, 255, (90, 133, 3)).astype(np.uint8)
    visualizer.set_image(image)
    assert (visualizer.get_image() == image).all()
    assert visualizer.ax_save.images  # matplotlib gets the image now
    assert (DetLocalVisualizer.get_image(visualizer) == image).all()
    visualizer.draw_bboxes(torch.tensor([10, 10, 50, 50]), edge_colors='r')
    assert (visualizer.get_image() != image).any()
    monkeypatch.setattr(DetLocalVisualizer, 'get_image', None)
    visualizer.add_datasample('image', image, sample(np.ones((90, 133), int)), draw_gt=False)
    assert visualizer.get_image().shape == (450, 665, 3)
