"""The examples of docs/parts.md about the criterion run as they stand there."""

import textwrap
from pathlib import Path

import criterion_slow_reference as slow
import torch
from cmt_deeplab.criterion import PanopticCriterion
from mmdet.registry import MODELS
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]


def example(start: str) -> str:
    """The indented block of the page that contains ``start``."""
    blocks, block = [], []
    for line in (ROOT / 'docs/parts.md').read_text(encoding='utf-8').splitlines():
        if line.startswith('    ') or (block and not line):
            block.append(line)
        elif block:
            blocks.append(textwrap.dedent('\n'.join(block)).strip() + '\n')
            block = []
    (found,) = (text for text in blocks if start in text)
    return found


def leaf(tmp_path: Path, start: str) -> Config:
    """The leaf of the page, inheriting the R50 model."""
    base = next(ROOT.glob('configs/cmt_deeplab/cmt-deeplab_r50_8xb8-150k_coco-panoptic-641.py'))
    text = example(start)
    if '_base_' not in text:
        text = f"_base_ = './{base.name}'\n{text}"
    path = tmp_path / 'leaf.py'
    path.write_text(text.replace(f'./{base.name}', str(base)))
    return Config.fromfile(str(path))


def computed(criterion: dict, num_classes: int = 133) -> dict[str, torch.Tensor]:
    criterion = MODELS.build(dict(criterion, num_classes=num_classes))
    prediction = slow.make_prediction(num_classes=num_classes)
    logits = torch.randn(2, num_classes + 1, 9, 9)
    return criterion([prediction], [slow.make_target(2)] * 2, semantic_logits=logits)


def test_a_leaf_changes_one_loss_and_replaces_another(tmp_path):
    config = leaf(tmp_path, 'pq=dict(loss_weight=5.0),\n').model.criterion
    assert config.losses.pq == dict(type='PanopticPQLoss', loss_weight=5.0)
    found = computed(config)
    assert 'loss_mask_discrimination' in found
    assert not {'loss_instance', 'loss_reference'} & set(found)


def test_a_leaf_like_mask2former(tmp_path):
    found = computed(leaf(tmp_path, "type='ClassificationCost'").model.criterion)
    expected = {'loss_classes', 'loss_masks', 'loss_dice'}
    assert expected | {'loss_instance', 'loss_semantic', 'loss_reference'} == set(found)


def test_a_leaf_with_exponents(tmp_path):
    config = leaf(tmp_path, 'class_exponent')
    PanopticCriterion(num_classes=6, assigner=config.model.criterion.assigner)


def test_adapters_of_mmdets_losses():
    scope = {}
    exec(example('PanopticClassLoss'), scope)
    found = computed(dict(type='PanopticCriterion', losses=scope['losses']), 6)
    assert set(found) == {'loss_dice', 'loss_focal', 'loss_classes'}


def test_a_loss_of_the_reader():
    try:
        exec(example('class ConfidentPixelLoss'), dict(__name__='my_losses'))
        losses = dict(confident=dict(type='ConfidentPixelLoss', loss_weight=0.1))
        found = computed(dict(type='PanopticCriterion', losses=losses), 6)
    finally:
        MODELS.module_dict.pop('ConfidentPixelLoss', None)
    assert found['loss_confident'] > 0 and list(found) == ['loss_confident']
