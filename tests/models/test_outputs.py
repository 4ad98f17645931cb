"""What a prediction gives beside the panoptic map, its numbers, and devices without fp64."""

import logging

import pytest
import torch
from cmt_deeplab.criterion import segment_reference_points
from cmt_deeplab.errors import UserError
from cmt_deeplab.postprocess import PanopticResult
from mmdet.evaluation import CocoMetric, SemSegMetric
from small_model import build_small
from test_detector import losses_of, make_batch
from torch.utils._python_dispatch import TorchDispatchMode

META = dict(classes=('a', 'b', 'c', 'd', 'e'), thing_classes=('a', 'b', 'c'))


def found() -> PanopticResult:
    """A thing of class 1 in a frame of void, and stuff of class 3 at the right."""
    segment_map = torch.full((20, 30), 5, dtype=torch.int32)
    segment_map[4:10, 3:8], segment_map[:, 20:] = 1001, 3
    info = [
        dict(id=1001, category_id=1, isthing=True, score=0.75, area=30),
        dict(id=3, category_id=3, isthing=False, score=0.5, area=200),
    ]
    return PanopticResult(segment_map, info)


def predicted(monkeypatch, **switches):
    model = build_small(**switches).eval()
    batch = make_batch((2,), side=65)
    sample = batch['data_samples'][0]
    sample.set_metainfo(dict(ori_shape=(20, 30)))
    index = torch.full((1, 20, 30), -1, dtype=torch.int16)
    index[0, 4:10, 3:7], index[0, :, 15:] = 0, 1
    del sample.gt_panoptic_seg.index_map
    sample.gt_panoptic_seg.index_map = index
    sample.gt_segments.labels = torch.tensor([1, 3])
    monkeypatch.setattr(model.postprocess, 'forward', lambda *args, **kwargs: found())
    data = model.data_preprocessor(batch)
    with torch.no_grad():
        return model(data['inputs'], data['data_samples'], mode='predict')[0]


def test_by_default_there_is_a_panoptic_map_alone(monkeypatch):
    sample = predicted(monkeypatch)
    assert not {'pred_sem_seg', 'pred_instances', 'gt_sem_seg'} & set(sample.keys())


def test_a_semantic_map_is_scored_by_mmdet(monkeypatch):
    sample = predicted(monkeypatch, semantic_on=True)
    metric = SemSegMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = META
    metric.process(None, [sample.to_dict()])
    (row,) = metric.results
    # truth: 24 pixels of class 1 and 300 of class 3; what lies on void does not count
    assert row['area_label'].tolist() == [0, 24, 0, 300, 0]
    assert row['area_intersect'].tolist() == [0, 24, 0, 200, 0]
    assert row['area_union'].tolist() == [0, 24, 0, 300, 0]
    assert sample.pred_sem_seg.sem_seg[0, 0, 0] == 255  # void


def test_more_classes_than_mmdets_void_do_not_collide_with_it():
    from cmt_deeplab.models.detectors.outputs import semantic_map

    plane = semantic_map(torch.tensor([[254, 255, 299, 300]]), num_classes=300)
    assert plane.sem_seg.tolist() == [[[254, 255, 299, 300]]] and plane.ignore_index == 300


def test_instances_are_the_things_with_boxes_around_their_masks(monkeypatch):
    sample = predicted(monkeypatch, instance_on=True)
    instances = sample.pred_instances
    assert instances.labels.tolist() == [1] and instances.scores.tolist() == [0.75]
    assert instances.bboxes.tolist() == [[3, 4, 8, 10]]
    assert (instances.masks[0] == (sample.pred_panoptic_seg.sem_seg[0] == 1001)).all()
    metric = CocoMetric(metric=['bbox', 'segm'])
    metric.dataset_meta = META
    truth = dict(bbox=[3, 4, 8, 10], bbox_label=1, ignore_flag=0)
    truth['mask'] = [[3, 4, 8, 4, 8, 10, 3, 10]]
    metric.process(None, [sample.to_dict() | dict(img_id=0, instances=[truth])])
    figures = metric.evaluate(1)
    assert figures['coco/bbox_mAP'] == figures['coco/segm_mAP'] == 1.0


def test_an_image_without_a_thing_has_no_instances():
    from cmt_deeplab.models.detectors.outputs import add_instances
    from mmdet.structures import DetDataSample

    sample = DetDataSample()
    add_instances(sample, PanopticResult(torch.full((4, 5), 5, dtype=torch.int32), []), 3)
    assert sample.pred_instances.masks.shape == (0, 4, 5)
    assert sample.pred_instances.bboxes.shape == (0, 4)


def predict(model, **metainfo):
    data = model.data_preprocessor(make_batch((1,)))
    data['data_samples'][0].set_metainfo(metainfo)
    with torch.no_grad():
        return model(data['inputs'], data['data_samples'], mode='predict')


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_that_are_not_finite_are_named(value):
    model = build_small().eval()
    with torch.no_grad():
        model.backbone.conv1.weight[0, 0, 0, 0] = value
    with pytest.raises(UserError, match=r"not finite \('backbone.conv1.weight' has nan or inf"):
        predict(model)


def test_logits_that_are_not_finite_are_told_once_with_the_image(monkeypatch, caplog):
    model = build_small().eval()
    network = model.network

    def overflowing(images):
        output = network(images)
        output.decoder.predictions[-1].mask_logits.fill_(float('inf'))
        return output

    monkeypatch.setattr(model, 'network', overflowing)
    monkeypatch.setattr(
        'cmt_deeplab.models.detectors.cmt_deeplab.print_log',
        lambda text, logger, level: logging.getLogger().log(level, text),
    )
    predict(model, img_path='one.png')
    predict(model, img_path='two.png')
    (record,) = caplog.records
    assert 'not finite for one.png' in record.message


class WithoutFP64(TorchDispatchMode):
    """Refuses what Apple's MPS refuses: an operation that gives a tensor of 64-bit floats."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64:
                raise TypeError('this device has no float64')
        return result


def test_training_and_prediction_need_no_float64():
    batch = make_batch((3, 5))
    index = batch['data_samples'][1].gt_panoptic_seg.index_map[0]
    exact = segment_reference_points(index, 5)
    with WithoutFP64():
        assert torch.allclose(segment_reference_points(index, 5), exact, atol=1e-6)
        sum(losses_of(build_small().train(), batch).values()).backward()
        predict(build_small(postprocess__score_at_stride=True).eval())


def test_more_classes_than_a_map_can_hold_are_refused():
    with pytest.raises(UserError, match=r'model.num_things_classes \+ .*at most 999.*not 1000'):
        build_small(num_things_classes=800, num_stuff_classes=200)


@pytest.mark.parametrize('device', ['mps', 'gpu', 'cuda:99'])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(UserError, match=f"{device}|give the device 'cpu'"):
        build_small().to(device)
