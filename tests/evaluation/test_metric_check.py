"""Metrics that could not score the model, and ground truth that is absent, are told early."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.construction import explain
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation import PanopticQualityMetric, check_followed, check_metrics, figures_of
from cmt_deeplab.mmdet_config import mmdet_config
from mmdet.evaluation import CocoMetric, CocoPanopticMetric, DumpDetResults, SemSegMetric, VOCMetric
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.structures import InstanceData, PixelData
from small_model import build_small

META = dict(classes=('a', 'b'), thing_classes=('a',), stuff_classes=('b',))


class Own(BaseMetric):
    def process(self, data_batch, data_samples):
        pass

    def compute_metrics(self, results):
        return {}


def loop(*metrics, samples=()):
    evaluator = SimpleNamespace(metrics=list(metrics))
    dataset = [dict(data_samples=sample) for sample in samples]
    loader, runner = SimpleNamespace(dataset=dataset), SimpleNamespace(work_dir='work')
    return SimpleNamespace(evaluator=evaluator, dataloader=loader, runner=runner)


def sample(size=(8, 12), truth=(8, 12), **meta):
    result = DetDataSample(metainfo=dict(ori_shape=size, **meta))
    if truth:
        result.gt_panoptic_seg = PixelData(index_map=torch.zeros(1, *truth, dtype=torch.int16))
        result.gt_segments = InstanceData(
            labels=torch.tensor([1]), is_crowd=torch.tensor([False]), ids=torch.tensor([7])
        )
    return result


def test_metrics_of_mmdet_name_what_switches_their_prediction_on(tmp_path):
    model = build_small()
    for metric, key in ((CocoMetric(), 'instance_on'), (SemSegMetric(), 'semantic_on')):
        metric.dataset_meta = META
        with pytest.raises(UserError, match=f'{type(metric).__name__} in .* model.{key}=True'):
            check_metrics(loop(PanopticQualityMetric(), metric), model)
        check_metrics(loop(metric), torch.nn.Identity())  # another model may serve it
        check_metrics(loop(metric), build_small(**{key: True}))
    with pytest.raises(UserError, match='VOCMetric in val_evaluator.*SemSegMetric or CocoMetric'):
        check_metrics(loop(VOCMetric()), build_small(instance_on=True, semantic_on=True))
    with pytest.raises(UserError, match='CocoPanopticMetric .* no seg_prefix'):
        check_metrics(loop(CocoPanopticMetric()), model)
    written = CocoPanopticMetric(format_only=True, outfile_prefix=str(tmp_path / 'out'))
    check_metrics(
        loop(Own(), written, DumpDetResults(out_file_path=str(tmp_path / 'o.pkl'))), model
    )
    written._coco_api, left_out = object(), loop(written)
    left_out.dataloader.dataset = type('Dataset', (list,), dict(skipped_images=['one']))()
    with pytest.raises(UserError, match='CocoPanopticMetric .* skip_faulty_images left some out'):
        check_metrics(left_out, model)
    with pytest.raises(UserError, match='Identity .* is no metric'):
        check_metrics(loop(torch.nn.Identity()), model)


def test_metrics_of_mmdet_need_a_ground_truth_of_the_same_images_and_classes(tmp_path):
    model = build_small(instance_on=True, semantic_on=True)
    first = sample(img_id=3)

    def check(metric, first=first, things=('a',)):
        metric.dataset_meta = dict(classes=(*things, 'c'), thing_classes=things)
        check_metrics(loop(metric, samples=[first]), model)

    def instances(*names, image=3):
        path = tmp_path / f'{"".join(names)}{image}.json'
        categories = [dict(id=i, name=name) for i, name in enumerate(names, start=1)]
        images = [dict(id=image, file_name='x.png', height=8, width=12)]
        path.write_text(json.dumps(dict(images=images, annotations=[], categories=categories)))
        return CocoMetric(ann_file=str(path))

    check(SemSegMetric())
    with pytest.raises(UserError, match='cannot write to output_dir'):
        check(SemSegMetric(output_dir=str(tmp_path)))
    with pytest.raises(UserError, match='SemSegMetric .* no ground truth: .*LoadPanopticIndexMap'):
        check(SemSegMetric(), sample(truth=None, img_id=3))
    with pytest.raises(UserError, match='CocoMetric .* no ground truth: set its ann_file'):
        check(CocoMetric())
    check(instances('a', 'b'), things=('a', 'b'))
    with pytest.raises(UserError, match='has no image 3, the first one of the data set'):
        check(instances('a', image=7))
    with pytest.raises(UserError, match="category 'a' where the data set has 'b'"):
        check(instances('a', 'b'), things=('b', 'a'))


def test_a_panoptic_file_for_a_metric_of_instances_is_named(tmp_path):
    path = tmp_path / 'panoptic.json'
    path.write_text(json.dumps(dict(images=[], annotations=[dict(image_id=1)], categories=[])))
    settings = dict(ann_file=str(path))
    with pytest.raises(KeyError) as caught:
        METRICS.build(dict(settings, type='CocoMetric'))
    sentence = explain(caught.value, 'val_evaluator', CocoMetric, settings)
    assert 'correct ann_file or metainfo: this type reads files of another format' in sentence


def test_mmdets_panoptic_metric_numbers_classes_in_the_order_of_its_file(tmp_path):
    path = tmp_path / 'panoptic.json'
    categories = [dict(id=i, name=name, isthing=0) for i, name in enumerate('ab', start=1)]
    path.write_text(json.dumps(dict(images=[], annotations=[], categories=categories)))
    metric = CocoPanopticMetric(ann_file=str(path), seg_prefix=str(tmp_path))
    metric.dataset_meta = dict(classes=('a', 'b'))
    check_metrics(loop(metric), build_small())
    metric.dataset_meta = dict(classes=('b', 'a'))
    with pytest.raises(UserError, match="category 'a' where the data set has 'b'"):
        check_metrics(loop(metric), build_small())


def test_models_of_mmdet_without_panoptic_output():
    def built(name):
        counts = dict(num_things_classes=1, num_stuff_classes=1)
        return build_without_values(mmdet_config(f'mmdet::{name}', counts).model)

    metrics = loop(PanopticQualityMetric())
    with pytest.raises(UserError, match='PanopticQualityMetric .* SOLO does not predict'):
        check_metrics(metrics, built('solo/solo_r50_fpn_1x_coco.py'))
    model = built('mask2former/mask2former_r50_8xb2-lsj-50e_coco.py')
    check_metrics(metrics, model)
    model.test_cfg.panoptic_on = False
    with pytest.raises(UserError, match='set model.test_cfg.panoptic_on=True'):
        check_metrics(metrics, model)


@pytest.mark.parametrize(
    ('first', 'sentence'),
    [
        (sample(truth=None, img_id=3), "Image 3 comes without 'gt_panoptic_seg.index_map'"),
        (sample(), "the 'img_id' None"),
        (sample(truth=(16, 24), img_id=3), 'prediction of image 3.*its ground truth'),
    ],
)
def test_the_first_sample_is_looked_at(first, sentence):
    metric = PanopticQualityMetric()
    metric.dataset_meta = META
    with pytest.raises(UserError, match=sentence):
        check_metrics(loop(metric, samples=[first]), torch.nn.Identity())


def test_a_sample_that_can_be_scored_leaves_no_trace(tmp_path):
    metric = PanopticQualityMetric(outfile_prefix=str(tmp_path / 'out'))
    metric.dataset_meta = META
    check_metrics(loop(metric, samples=[sample(img_id=3)]), torch.nn.Identity())
    check_metrics(loop(metric), torch.nn.Identity())
    assert metric.results == [] and not list(tmp_path.iterdir())


def test_what_chooses_the_best_checkpoint_is_a_figure_of_the_metrics():
    hooks = [
        CheckpointHook(save_best=['coco_panoptic/PQ', 'coco_panoptic/PQ_th'], rule='greater'),
        CheckpointHook(save_best='auto'),
        EarlyStoppingHook(monitor='coco_panoptic/PQ', rule='greater'),
        CheckpointHook(),
    ]
    check_followed(hooks, figures_of([PanopticQualityMetric()]))
    for hook in (CheckpointHook(save_best='mAP'), EarlyStoppingHook(monitor='PQ', rule='greater')):
        with pytest.raises(UserError, match='(mAP|PQ).*give: use one of coco_panoptic/PQ'):
            check_followed([hook], figures_of([PanopticQualityMetric()]))
        check_followed([hook], figures_of([PanopticQualityMetric(), Own()]))  # it may give it
    with pytest.raises(UserError, match='use one of mine/PQ, '):
        check_followed(hooks, figures_of([PanopticQualityMetric(prefix='mine')]))


class Images(list):
    """A data set of paths."""

    def get_data_info(self, index):
        return dict(img_path=self[index])


def test_files_by_name_need_names_of_their_own(tmp_path):
    pytest.importorskip('panopticapi')
    model = build_small()
    for paths, refused in ((('a/1.jpg', 'b/1.jpg'), True), (('a/1.jpg', 'b/2.jpg'), False)):
        metrics = loop(CocoPanopticMetric(outfile_prefix=str(tmp_path / 'out'), format_only=True))
        metrics.dataloader.dataset = Images(paths)
        with pytest.raises(UserError, match='a/1.jpg') if refused else nullcontext():
            check_metrics(metrics, model)
    for metric in metrics.evaluator.metrics:  # not below the folder in which the command starts
        assert metric.collect_dir == 'work/.collected'
