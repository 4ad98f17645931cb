"""Steps, validations and predictions on a pretended GPU; test_on_device.py runs them."""

from collections.abc import Iterator

import cmt_deeplab  # noqa: F401
import mmdet.apis  # noqa: F401
import numpy as np
import pytest
import torch
from cmt_deeplab.datasets import write_shapes
from cmt_deeplab.estimate import pretended_device
from cmt_deeplab.estimate.pretended import fake_batch
from cmt_deeplab.inference import PanopticInferencer
from cmt_deeplab.own_training import train
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from pretended_tensors import Watched, pretended_gpu
from small_model import build_small

SIZE = (65, 65)
LAYER = 'panoptic_head__transformer_decoder__layer'
FAMILIES = {
    'cmt': {},
    'kmax': {LAYER: dict(type='KMaXLayer', hidden_channels=32, heads=4)},
    'max': {LAYER: dict(type='MaXLayer', hidden_channels=32, heads=4)},
    'rfn': dict(type='CMTDeepLabRFN', feedback=dict(layer1=3, layer2=2, layer3=1)),
    'recomputed': dict(with_cp=True),
}
# Where the host may wait, and how often: for the matching, and for what is painted.
IN_A_STEP = {('event', 'criterion/assigner.py'): 1}
MOST_OF_A_PREDICTION = 16


@pytest.fixture(scope='module')
def gpu() -> Iterator[Watched]:
    init_default_scope('mmdet')
    with pretended_gpu() as watched:
        yield watched


def filled(batch: dict) -> dict:
    """The batch with values in its tensors."""
    for image in batch['inputs']:
        image.random_(256)
    if 'planes' in batch:
        batch['planes'].random_(5)
        batch['segments']['labels'].random_(5)
        batch['segments']['is_crowd'].zero_()
    return batch


@pytest.fixture(params=FAMILIES)
def model(gpu, request):
    torch.manual_seed(0)
    model = build_small(data_preprocessor__size=SIZE, **FAMILIES[request.param])
    merge = model.postprocess
    merge.thing_threshold = merge.stuff_threshold = merge.pixel_threshold = 0.01
    merge.smallest_area = (0, 0)
    return model.to(pretended_device())


def test_a_step_waits_for_the_matching_alone(gpu, model):
    optimizer = dict(type='AdamW', lr=1e-3, fused=True)
    wrapper = build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=optimizer))
    batch = filled(fake_batch(model.train(), SIZE, 2))
    gpu.waits()
    losses = model.train_step(batch, wrapper)
    assert gpu.waits() == IN_A_STEP
    assert all(value.is_cuda for value in losses.values())


def test_a_prediction_waits_for_what_it_paints(gpu, model):
    batch = filled(fake_batch(model.eval(), SIZE, 1, output=(50, 70)))
    gpu.waits()
    (sample,) = model.test_step(batch)
    waits = gpu.waits()
    assert sample.pred_panoptic_seg.sem_seg.is_cuda and sample.pred_panoptic_seg.segments_info
    assert sum(waits.values()) <= MOST_OF_A_PREDICTION, waits
    assert {file.partition('/')[0] for _, file in waits} <= {'postprocess', 'models'}


def test_training_on_own_data_with_its_validations_report_and_predictions(gpu, tmp_path):
    write_shapes(tmp_path / 'data', num_train=4, num_val=2, size=64)
    overrides = {'train_cfg.val_interval': 2}
    overrides |= {
        f'{stage}_dataloader.{key}': value
        for stage in ('train', 'val')
        for key, value in dict(num_workers=0, persistent_workers=False).items()
    }
    work_dir = train(
        tmp_path / 'data',
        model='cmt-tiny',
        work_dir=tmp_path / 'run',
        iters=4,
        image_size=64,
        device=str(pretended_device()),
        overrides=overrides,
    )
    assert (work_dir / 'report.html').is_file()
    (checkpoint,) = work_dir.glob('best*.pth')
    inferencer = PanopticInferencer(checkpoint, device=str(pretended_device()))
    image = np.zeros((80, 100, 3), np.uint8)
    (result,) = inferencer([image])
    assert result.id_map.shape == (80, 100)
    (result,) = PanopticInferencer(checkpoint, device=str(pretended_device()), windows=(64, 64))(
        [image]
    )
    assert result.id_map.shape == (80, 100)
