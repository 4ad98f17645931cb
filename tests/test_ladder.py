"""The ablation ladder: one ingredient per step, on COCO with R50 and on two images with R18.

    python -m pytest tests/test_ladder.py -m slow -s

trains each rung with the ResNet-18 on panopticapi's two sample images and prints its PQ.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cmt_deeplab.structures import PanopticTarget
from mmdet.registry import MODELS
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / 'configs' / 'cmt_deeplab'
WHOLE = FOLDER / 'cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'  # which is rung 5
TWO_IMAGES = FOLDER / 'cmt-deeplab_r18_overfit2_coco-panoptic-256.py'
RUNGS = sorted(
    [*FOLDER.glob('cmt-deeplab_r50_ladder*.py'), WHOLE],
    key=lambda path: 5 if path == WHOLE else int(path.stem.split('ladder')[1][0]),
)
INGREDIENTS = (
    'clustering_update',
    'pixel_update',
    'residual_logits',
    'reference_mask',
    'coordinate_conv',
)
STEPS = [
    set(),
    {'clustering_update'},
    {'pixel_update'},
    {'residual_logits'},
    {'reference_mask', 'coordinate_conv'},
    {'pixel-wise'},
    {'kmeans'},
]
CEILING_OF_STRIDE_4 = 71.28  # PQ of the two images' truth brought to stride 4: docs/measurements.md
per_rung = pytest.mark.parametrize('number', range(7))


def on_coco(number: int) -> Config:
    return Config.fromfile(str(RUNGS[number]))


def on_two_images(number: int) -> Config:
    """The config of the two images with the layer and the discrimination loss of a rung."""
    config, rung = Config.fromfile(str(TWO_IMAGES)), on_coco(number).model
    layer = rung.panoptic_head.transformer_decoder.layer.copy()
    layer.pop('drop_path')  # the small model has none
    config.model.panoptic_head.transformer_decoder.layer.update(layer)
    discrimination = rung.criterion.losses.discrimination
    if discrimination.type != config.model.criterion.losses.discrimination.type:
        config.model.criterion.losses.discrimination = discrimination
    return config


def ingredients(config: Config) -> set:
    layer = config.model.panoptic_head.transformer_decoder.layer
    default = layer.type == 'CMTLayer'
    found = {
        name
        for name in INGREDIENTS
        if layer.get(name, default or (name == 'pixel_update' and layer.type == 'MaXLayer'))
    }
    if config.model.criterion.losses.discrimination.type == 'PanopticInstanceDiscriminationLoss':
        found.add('pixel-wise')
    return found | ({'kmeans'} if layer.get('assignment') == 'kmeans' else set())


def rest(config: Config) -> dict:
    """The config without its layer and its discrimination loss."""
    content = config.to_dict()
    content['model']['panoptic_head']['transformer_decoder']['layer'] = None
    content['model']['criterion']['losses']['discrimination'] = None
    return content


@pytest.mark.parametrize('of', [on_coco, on_two_images])
def test_one_ingredient_per_step(of):
    assert len(RUNGS) == 7
    found = [ingredients(of(number)) for number in range(7)]
    for before, after, step in zip([set(), *found], found, STEPS):
        assert before < after or not step
        assert after - before == step


@per_rung
@pytest.mark.parametrize('of', [on_coco, on_two_images])
def test_rungs_differ_in_the_layer_and_the_discrimination_alone(of, number):
    assert rest(of(number)) == rest(of(5))


def test_the_two_images_are_rung_five():
    assert on_two_images(5).model == Config.fromfile(str(TWO_IMAGES)).model


@per_rung
def test_each_rung_trains_a_step(number):
    torch.manual_seed(0)
    config = on_two_images(number)
    model = MODELS.build(config.model).train()
    index = torch.full((64, 64), -1, dtype=torch.int16)
    index[:32], index[32:, :32] = 0, 1
    output = model.network(torch.randn(2, 3, 64, 64))
    losses = model.criterion(
        output.decoder.predictions,
        [PanopticTarget(index=index, labels=torch.tensor([3, 90]))] * 2,
        semantic_logits=output.semantic_logits,
    )
    sum(losses.values()).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    assert [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.isfinite().all()
    ] == []
    optimizer.step()
    assert ('loss_reference' in ' '.join(losses)) == ('reference_mask' in ingredients(config))


@pytest.mark.slow
@per_rung
def test_each_rung_overfits_two_images(number, real_data, tmp_path):
    """About five minutes per rung on two cores. A stride-4 plane of the truth itself has less."""
    config = on_two_images(number)
    config.dump(str(tmp_path / 'rung.py'))
    root = real_data / 'coco_panoptic_samples'
    subprocess.run(
        [
            *(sys.executable, 'tools/train.py', str(tmp_path / 'rung.py'), '--amp'),
            *('--work-dir', str(tmp_path / 'run'), '--cfg-options'),
            *(f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test')),
        ],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    lines = next((tmp_path / 'run').rglob('scalars.json')).read_text().splitlines()
    history = [round(scalars[key], 2) for scalars in map(json.loads, lines) for key in scalars
               if key.endswith('coco_panoptic/PQ')]  # fmt: skip
    print(f'\nrung {number} ({RUNGS[number].stem}): PQ {history}')
    assert len(history) == 3 and history[-1] > CEILING_OF_STRIDE_4
