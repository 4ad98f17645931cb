"""The ablation ladder: one ingredient a step, on COCO and small alike."""

from pathlib import Path

import pytest
import torch
from cmt_deeplab.structures import PanopticTarget
from mmdet.registry import MODELS
from mmengine.config import Config

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'cmt_deeplab'
LARGE, SMALL = (
    sorted(FOLDER.glob(f'cmt-deeplab_{backbone}_ladder*.py')) for backbone in ('r50', 'r18')
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


def ingredients(path: Path) -> set:
    model = Config.fromfile(str(path)).model
    layer = model.panoptic_head.transformer_decoder.layer
    default = layer.type == 'CMTLayer'
    found = {
        name
        for name in INGREDIENTS
        if layer.get(name, default or (name == 'pixel_update' and layer.type == 'MaXLayer'))
    }
    found |= (
        {'pixel-wise'}
        if any(loss.type == 'PanopticInstanceDiscriminationLoss' for loss in model.criterion.losses)
        else set()
    )
    return found | ({'kmeans'} if layer.get('assignment') == 'kmeans' else set())


@pytest.mark.parametrize('ladder', [LARGE, SMALL], ids=['r50', 'r18'])
def test_one_ingredient_a_step(ladder):
    assert len(ladder) == 7
    found = [ingredients(path) for path in ladder]
    for before, after, step in zip([set(), *found], found, STEPS):
        assert before < after or not step
        assert after - before == step


@pytest.mark.parametrize('ladder', [LARGE, SMALL], ids=['r50', 'r18'])
def test_rungs_differ_in_the_layer_and_the_losses_alone(ladder):
    def rest(path):
        config = Config.fromfile(str(path)).to_dict()
        config['model']['panoptic_head']['transformer_decoder']['layer'] = config['model'][
            'criterion'
        ]['losses'] = None
        return config

    assert all(rest(path) == rest(ladder[0]) for path in ladder[1:])


def test_rung_five_is_cmt_deeplab():
    rung, plain = (
        Config.fromfile(str(path)).model
        for path in (LARGE[5], FOLDER / 'cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py')
    )
    plain.panoptic_head.transformer_decoder.layer.update(
        {name: True for name in INGREDIENTS[1:]}
    )  # what the layer has by default
    assert rung == plain


@pytest.mark.parametrize('path', SMALL, ids=lambda path: path.stem.split('_')[2])
def test_each_rung_trains_a_step(path):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(str(path)).model).train()
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
    assert ('loss_reference' in ' '.join(losses)) == ('reference_mask' in ingredients(path))
