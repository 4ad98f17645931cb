"""A checkpoint alone suffices: training and publishing carry the model and the pipeline as data."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cmt_deeplab.checkpoints.recipe import add_recipe, read_recipe
from cmt_deeplab.compat import CompiledOpMissing
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.errors import UserError
from cmt_deeplab.inference import PanopticInferencer
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from run_tool import ROOT, run_tool
from torch import nn
from untrained import TINY, certain_config, save_untrained

LEAVES = sorted(
    path.relative_to(ROOT / 'configs').as_posix()
    for path in (ROOT / 'configs').glob('[a-z]*/*.py')
    if path.parent.name in ('cmt_deeplab', 'kmax_deeplab', 'max_deeplab', 'peers')
)
IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
PEERS = ('maskformer', 'mask2former')


def test_configs_can_be_carried():
    """The dicts are those of the config, but for what names files, and tuples are lists."""
    assert len(LEAVES) > 45
    for leaf in LEAVES[::6]:  # the others are alike, and loading them takes seconds
        config, meta = Config.fromfile(str(ROOT / 'configs' / leaf)), {}
        add_recipe(meta, config, None)
        recipe = read_recipe(meta['inference'])
        assert recipe['model']['type'] == config.model.type, leaf
        assert recipe['pipeline'][0] == dict(type='LoadImageFromFile')
        assert '/' not in meta['inference'] and 'init_cfg' not in meta['inference']


@pytest.mark.parametrize('name', PEERS)
def test_the_model_is_the_same(name):
    config, meta = certain_config(f'peers/{name}_tiny_shapes.py'), {}
    add_recipe(meta, config, None)
    carried = MODELS.build(ConfigDict(read_recipe(meta['inference'])['model']))
    assert str(carried) == str(MODELS.build(config.model))


def test_training_writes_it(shapes_root, tmp_path):
    config = certain_config(
        work_dir=str(tmp_path),
        train_cfg__max_iters=1,
        train_dataloader__num_workers=0,
        train_dataloader__batch_size=2,
        train_dataloader__persistent_workers=False,
        train_dataloader__dataset__data_root=f'{shapes_root}/',
    )
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    Runner.from_cfg(config).train()
    (result,) = PanopticInferencer(tmp_path / 'iter_1.pth', device='cpu')(IMAGE)
    assert result.id_map.shape == (60, 80)
    with_config = PanopticInferencer(config, weights=tmp_path / 'iter_1.pth', device='cpu')
    assert np.array_equal(with_config(IMAGE)[0].id_map, result.id_map)
    stored = torch.load(tmp_path / 'iter_1.pth', weights_only=True)['meta']['inference']
    assert len(json.loads(stored)['category_ids']) == 11
    moved = PanopticInferencer(tmp_path, device='cpu')  # the folder of the run
    assert np.array_equal(moved(IMAGE)[0].id_map, result.id_map)


def test_published_weights_carry_it_too(tmp_path):
    source = save_untrained(certain_config(), tmp_path / 'tiny.pth', cfg="root = '/home/me/data'\n")
    finished = run_tool('model_converters/publish_model.py', source)
    published = Path(finished.stdout.split()[-1])
    about = published.with_suffix('.json').read_text()
    assert '/home' not in about and json.loads(about)['config'] == "root = 'data'\n"
    assert json.loads(about)['inference']['model']['type'] == 'CMTDeepLab'
    results = [PanopticInferencer(path, device='cpu')(IMAGE)[0] for path in (source, published)]
    assert np.array_equal(results[0].id_map, results[1].id_map)
    assert results[0].segments_info == results[1].segments_info != []
    assert results[0].palette == results[1].palette and len(results[0].palette) == 11


@pytest.mark.parametrize('name', PEERS)
def test_the_peers_of_mmdet(name, tmp_path):
    """Their segments have no scores, and their merge is their own."""
    config = certain_config(f'peers/{name}_tiny_shapes.py')
    config.model.test_cfg.update(object_mask_thr=0.0, iou_thr=0.0)
    weights = save_untrained(config, tmp_path / 'peer.pth')
    inferencer = PanopticInferencer(weights, device='cpu')
    (result,) = inferencer(IMAGE, out_dir=tmp_path / 'out')
    (expected,) = PanopticInferencer(config, weights=weights, device='cpu')(IMAGE)
    assert np.array_equal(result.id_map, expected.id_map) and result.segments_info
    assert {info['score'] for info in result.segments_info} == {None}
    with pytest.raises(UserError, match='has one of its own'):
        inferencer(IMAGE, thresholds=0.5)


def test_a_model_that_needs_compiled_operators(tmp_path):
    config, meta = certain_config('peers/panoptic-fpn_tiny_shapes.py'), {}
    add_recipe(meta, config, None)
    model = MODELS.build(ConfigDict(read_recipe(meta['inference'])['model']))
    known = dict(classes=[f'class {k}' for k in range(11)])
    torch.save(
        dict(state_dict=model.state_dict(), meta=dict(meta, dataset_meta=known)), tmp_path / 'a.pth'
    )
    inferencer = PanopticInferencer(tmp_path / 'a.pth', device='cpu')
    try:
        (result,) = inferencer(IMAGE)
    except CompiledOpMissing as error:
        assert 'build them with' in str(error)
    else:
        assert result.id_map.shape == (60, 80)


def test_types_that_are_classes_and_scopes():
    config, meta = certain_config(), {}
    config.test_dataloader.dataset.pipeline[0].type = LoadImageFromFile
    config.model.backbone.type = 'mmdet.ResNet'
    config.model.panoptic_head._scope_ = 'mmdet'
    add_recipe(meta, config, None)
    recipe = read_recipe(meta['inference'])
    assert recipe['pipeline'][0]['type'] == 'LoadImageFromFile'
    assert recipe['model']['backbone']['type'] == 'ResNet'


def test_a_part_of_the_user_is_not_carried(caplog):
    """A warning says so once, and the checkpoint needs its config."""

    @MODELS.register_module(force=True)
    class PartOfAUser(nn.Module):
        pass

    for part in ('PartOfAUser', PartOfAUser, 'some_package.PartOfAUser'):
        config, meta = certain_config(), {}
        config.model.backbone.type = part
        add_recipe(meta, config, None)
        assert meta == {}


def test_a_checkpoint_of_before(tmp_path):
    content = dict(state_dict=dict(weight=torch.ones(2)), meta=dict(iter=1))
    torch.save(content, tmp_path / 'old.pth')
    with pytest.raises(UserError, match=r"give the config too, PanopticInferencer\('CONFIG.py'"):
        PanopticInferencer(tmp_path / 'old.pth')
    with pytest.raises(UserError, match='which has no weights: give weights=CHECKPOINT'):
        PanopticInferencer(ROOT / 'configs' / TINY)
    assert read_config(str(ROOT / 'configs' / TINY)).model.type == 'CMTDeepLab'


def test_other_classes_than_the_model(tmp_path):
    known = dict(classes=['a', 'b'], thing_classes=['a'], stuff_classes=['b'])
    weights = save_untrained(certain_config(), tmp_path / 'tiny.pth', dataset_meta=known)
    with pytest.raises(UserError, match='names 2 classes, but its model has 6 thing and 5 stuff'):
        PanopticInferencer(weights)


def test_what_fails_in_the_prediction_is_one_sentence(tmp_path):
    """So where the pipeline leaves out what the model looks for, and the config is to be given."""
    config = certain_config('peers/maskformer_tiny_shapes.py')
    config.test_dataloader.dataset.pipeline[-1].meta_keys = ['img_id']
    weights = save_untrained(config, tmp_path / 'peer.pth')
    with pytest.raises(UserError, match='cannot be used .*: give the config file itself') as error:
        PanopticInferencer(weights, device='cpu')(IMAGE)
    assert str(error.value).startswith(weights) and '\n' not in str(error.value)
    with pytest.raises((KeyError, AttributeError)):
        PanopticInferencer(config, weights=weights, device='cpu')(IMAGE)


def test_images_and_inputs_of_any_reasonable_size(tmp_path):
    """A small input without a resizing serves small images; photographs have large ones."""
    config, meta = certain_config(), {}
    steps = config.test_dataloader.dataset.pipeline
    steps[:] = [step for step in steps if step.type != 'PanopticResize']
    weights = save_untrained(config, tmp_path / 'tiny.pth')
    (result,) = PanopticInferencer(weights, device='cpu')(IMAGE)
    assert result.id_map.shape == (60, 80)
    config.model.data_preprocessor.size = config.test_dataloader.dataset.image_size = (4000, 6016)
    add_recipe(meta, config, None)
    assert read_recipe(meta['inference'])['image_size'] == [4000, 6016]
