"""PQ of a part of the validation images: the same in any number of processes, and harmless."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.evaluation import PanopticQualityMetric
from cmt_deeplab.reports import PanopticEarlyFiguresHook
from helpers.toy_run import toy_runner
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from processes import in_processes
from torch import nn
from torch.utils.data import DataLoader

META = dict(classes=('a', 'b'), thing_classes=('a',), stuff_classes=('b',))


class Images(list):
    """Seven images of two segments; in image i the first i rows are predicted wrong."""

    metainfo = META

    def __init__(self):
        for number in range(7):
            plane = torch.zeros(1, 8, 8, dtype=torch.int16)
            plane[..., 4:] = 1
            wrong = plane.long().clone()
            wrong[:, :number] = 1 - wrong[:, :number]
            sample = DetDataSample(metainfo=dict(img_id=number, img_path=f'{number}.png'))
            sample.gt_panoptic_seg = PixelData(index_map=plane)
            sample.gt_segments = dict(labels=torch.tensor([0, 1]), is_crowd=torch.zeros(2).bool())
            sample.pred_panoptic_seg = PixelData(sem_seg=wrong)
            self.append(sample)


class Model(nn.Module):
    def val_step(self, batch):
        assert not self.training and not torch.is_grad_enabled()
        return batch


def run(*, iterations=(6,), **options):
    """What a hook logs after ``iterations`` of a run of 12 with validations every 4."""
    metric = PanopticQualityMetric()
    metric.dataset_meta = META
    loader = DataLoader(Images(), batch_size=2, collate_fn=list)
    loop = SimpleNamespace(
        dataloader=loader, evaluator=SimpleNamespace(metrics=[metric]), fp16=False
    )
    shown = {}
    hook = PanopticEarlyFiguresHook(**options)
    runner = SimpleNamespace(
        val_loop=loop,
        train_loop=SimpleNamespace(val_begin=1, val_interval=4),
        max_iters=12,
        iter=0,
        model=Model().train(),
        hooks=[hook],
        visualizer=SimpleNamespace(add_scalars=lambda row, step: shown.update({step: row})),
        logger=logging.getLogger('early'),
        call_hook=lambda name, **told: None,
    )
    hook.before_train(runner)
    for done in iterations:
        runner.iter = done - 1
        hook.after_train_iter(runner, done - 1)
    assert runner.model.training and metric.results == []
    return shown


def test_the_figures_are_those_of_the_chosen_images_in_any_number_of_processes():
    images = Images()
    chosen = sorted(np.random.default_rng(0).permutation(7)[:5].tolist())
    metric = PanopticQualityMetric()
    metric.dataset_meta = META
    metric.process(None, [images[number].to_dict() for number in chosen])
    right = metric.evaluate(5)
    (found,) = run(images=5).values()
    assert found == {
        f'early_5_images/{key}': pytest.approx(right[f'coco_panoptic/{key}'])
        for key in ('PQ', 'PQ_th', 'PQ_st')
    }
    assert 0 < found['early_5_images/PQ'] < 100
    assert in_processes(2, run_of_five) == [{6: found}] * 2  # 3 and 3, so that one is repeated


def run_of_five():
    return run(images=5)


def test_when_they_are_made():
    every = range(1, 13)
    assert [*run(iterations=every)] == [2, 6, 10]  # half-way between the validations
    assert [*run(iterations=every, interval=3)] == [3, 6, 9]
    assert [*run(iterations=every, interval=1, images=1)] == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert [*run(iterations=(1, 7, 8), interval=3)] == [7]  # 3 and 6 were skipped
    assert [*run(images=50)[6]][0] == 'early_7_images/PQ'  # there are no more


def test_what_is_refused(tmp_path):
    with pytest.raises(UserError, match='images is 0, but must be at least 1'):
        PanopticEarlyFiguresHook(images=0)
    hook = dict(type='PanopticEarlyFiguresHook')
    with pytest.raises(UserError, match='give the config a val_dataloader and val_evaluator'):
        toy_runner(tmp_path, default_hooks__early_figures=hook).train()
