"""mmdet's configs on our data by one function, and our configs as bases of mmengine's new style."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from cmt_deeplab.analysis.config_model import build_without_values
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.errors import UserError
from cmt_deeplab.mmdet_config import mmdet_config, set_class_counts, set_length
from cmt_deeplab.value_kinds import class_of
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from test_configs import parts_of, without_weights

PACKAGE = Path(__file__).resolve().parents[1] / 'projects' / 'cmt_deeplab'
SHAPES = dict(num_things_classes=6, num_stuff_classes=5)
COCO = dict(num_things_classes=80, num_stuff_classes=53)
PANOPTIC = (
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    'mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco-panoptic.py',
    'mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'maskformer/maskformer_r50_ms-16xb1-75e_coco.py',
    'panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
)
INSTANCES = (
    'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py',
    'solov2/solov2_r50_fpn_1x_coco.py',
    'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'queryinst/queryinst_r50_fpn_1x_coco.py',
    'rtmdet/rtmdet-ins_tiny_8xb32-300e_coco.py',
    'gn+ws/mask-rcnn_r50_fpn_gn-ws-all_2x_coco.py',  # a folder that mmengine's get_config refuses
    'htc/htc_r50_fpn_1x_coco.py',
    'seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1.py',
    'detr/detr_r50_8xb2-150e_coco.py',
)


@pytest.mark.parametrize(
    ('name', 'counts'),
    [*((name, SHAPES) for name in (*PANOPTIC, *INSTANCES)), (INSTANCES[-2], COCO)],
)
def test_every_class_count_is_that_of_the_data(name, counts):
    config = mmdet_config(f'mmdet::{name}', counts, max_iters=1000)
    things, every = counts['num_things_classes'], sum(counts.values())
    found = 0
    for place, value in parts_of(config.model):
        key = place.rpartition('.')[2]
        if key in counts:
            assert value == counts[key], place
        elif key == 'num_classes':
            assert value == (every if 'semantic' in place else things), place
        elif key == 'class_weight' and not isinstance(value, float):
            assert len(value) == every + 1, place
        else:
            continue
        found += 1
    assert found > 0
    preprocessor = config.model.data_preprocessor
    assert 'batch_augments' not in preprocessor
    assert preprocessor.pad_seg and preprocessor.pad_mask  # images of a batch differ in size
    assert all(scheduler.by_epoch is False for scheduler in config.param_scheduler)
    assert max(scheduler.end for scheduler in config.param_scheduler) == 1000
    assert config.train_cfg == dict(max_iters=1000)


@pytest.mark.parametrize('name', PANOPTIC[:1] + PANOPTIC[3:])
def test_the_model_builds_with_the_new_counts(name):
    model = build_without_values(without_weights(mmdet_config(f'mmdet::{name}', SHAPES).model))
    assert model.num_things_classes == 6 and model.num_stuff_classes == 5


def test_a_leaf_takes_a_config_of_the_users_own_file(tmp_path):
    bases = [
        PACKAGE.parents[1] / 'configs' / '_base_' / name
        for name in (
            'datasets/shapes_panoptic_masks.py',
            'schedules/mmdet.py',
            'default_runtime.py',
        )
    ]
    (tmp_path / 'theirs.py').write_text(
        "_base_ = 'mmdet::solov2/solov2_r50_fpn_1x_coco.py'\n"
        'model = dict(mask_head=dict(feat_channels=64))\n'
    )
    (tmp_path / 'leaf.py').write_text(
        f'_base_ = {[str(base) for base in bases]}\n'
        'from cmt_deeplab.mmdet_config import mmdet_config\n'
        "source = mmdet_config('{{ fileDirname }}/theirs.py', _base_, max_iters=900)\n"
        'model, optim_wrapper = source.model, source.optim_wrapper\n'
        'param_scheduler, train_cfg = source.param_scheduler, source.train_cfg\n'
        'del source\n'
    )
    (tmp_path / 'child.py').write_text(
        "_base_ = './leaf.py'\nmodel = dict(mask_head=dict(stacked_convs=2))\n"
    )
    config = Config.fromfile(str(tmp_path / 'child.py'))
    head = config.model.mask_head
    assert (head.num_classes, head.feat_channels, head.stacked_convs) == (6, 64, 2)
    assert config.train_cfg.type == 'PanopticIterBasedTrainLoop'
    assert config.train_cfg.max_iters == 900 and 'max_epochs' not in config.train_cfg
    assert config.train_dataloader.dataset.type == 'ShapesPanopticDataset'


@pytest.mark.skipif(find_spec('mmpretrain') is not None, reason='mmpretrain is installed')
def test_a_package_that_a_config_of_mmdet_imports_is_named():
    name = 'mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py'
    with pytest.raises(UserError, match="imports the module 'mmpretrain'.*which Python does not"):
        mmdet_config(name, SHAPES)


def test_schedules_keep_their_places():
    by_epoch = Config(
        dict(
            train_cfg=dict(max_epochs=10),
            param_scheduler=[
                dict(type='LinearLR', by_epoch=False, begin=0, end=500),
                dict(type='MultiStepLR', by_epoch=True, begin=0, end=10, milestones=[8, 9]),
                dict(type='CosineAnnealingLR', begin=5, T_max=5, convert_to_iter_based=True),
            ],
        )
    )
    set_length(by_epoch, 1000)
    warm_up, steps, cosine = by_epoch.param_scheduler
    assert warm_up.end == 100, 'a tenth of the training at most'
    assert (steps.end, steps.milestones, steps.by_epoch) == (1000, [800, 900], False)
    assert (cosine.begin, cosine.T_max, cosine.by_epoch) == (500, 500, False)
    assert 'convert_to_iter_based' not in cosine
    ours = read_config('cmt-deeplab_tiny_shapes')
    set_length(ours, 250)
    assert ours.param_scheduler[0].warmup == 10, '100 of 2500 iterations'


@pytest.mark.parametrize(
    ('name', 'data', 'sentence'),
    [
        ('mmdet::solo/nothing.py', SHAPES, 'mmdet::solo/nothing.py is not to be found'),
        ('mmdett::solo/nothing.py', SHAPES, 'name of an installed toolbox'),
        ('nowhere.py', SHAPES, 'nowhere.py does not exist'),
        ('mmdet::_base_/default_runtime.py', SHAPES, 'has no model'),
        (f'mmdet::{PANOPTIC[3]}', dict(num_things_classes=6), 'does not set num_stuff_classes'),
    ],
)
def test_what_does_not_fit_is_said(name, data, sentence):
    with pytest.raises(UserError, match=sentence):
        mmdet_config(name, data)


def test_weights_of_single_classes_are_not_made_up():
    model = ConfigDict(head=dict(loss=dict(class_weight=[1.0, 2.0, 0.1])))
    with pytest.raises(UserError, match='model.head.loss.class_weight has different weights'):
        set_class_counts(model, 6, 5)


def names_of_types(config):
    """The config with the names of the types in place of classes, and tuples as lists.

    A name that this package has given to a class of its own stands for that class.
    """
    if isinstance(config, dict):
        names = {key: names_of_types(value) for key, value in config.items()}
        ours = class_of(names.get('type'))
        if getattr(ours, '__module__', '').startswith('cmt_deeplab.'):
            names['type'] = ours.__name__
        return names
    if isinstance(config, list | tuple):
        return [names_of_types(value) for value in config]
    return config.__name__ if isinstance(config, type) else config


NEW_STYLE = {
    'cmt_deeplab_tiny_shapes': 'cmt-deeplab_tiny_shapes',
    'cmt_deeplab_r50_coco_panoptic_641': 'cmt-deeplab_r50_8xb8-150k_coco-panoptic-641',
}


@pytest.mark.parametrize('name', NEW_STYLE)
def test_a_new_style_base_equals_its_text_config(name, tmp_path):
    (tmp_path / 'mine.py').write_text(
        'from mmengine.config import read_base\n\n'
        f'with read_base():\n    from cmt_deeplab.configs.{name} import *\n'
    )
    text = read_config(NEW_STYLE[name]).to_dict()
    new = Config.fromfile(str(tmp_path / 'mine.py'))
    for key, value in text.items():
        assert names_of_types(new[key]) == names_of_types(value), key
    types = [
        value
        for key in ('model', 'train_dataloader', 'val_evaluator', 'optim_wrapper', 'default_hooks')
        for place, value in parts_of(new[key])
        if place.endswith('type') and 'init_cfg' not in place
    ]
    assert all(isinstance(value, type) for value in types) and len(types) > 25
    assert {path.stem for path in (PACKAGE / 'configs').glob('cmt*.py')} == set(NEW_STYLE)


def test_a_child_in_the_new_style_changes_nested_keys_and_builds(tmp_path):
    (tmp_path / 'mine.py').write_text(
        'from mmengine.config import read_base\n\n'
        'with read_base():\n'
        '    from cmt_deeplab.configs.cmt_deeplab_tiny_shapes import *\n\n'
        'from cmt_deeplab.models.transformer import KMaXLayer\n\n'
        'decoder = model.panoptic_head.transformer_decoder\n'
        'decoder.layer.type = KMaXLayer\n'
        'decoder.num_centers = 12\n'
        'model.merge(dict(criterion=dict(losses=dict(pq=dict(loss_weight=5.0),'
        ' reference_points=None))))\n'
        'del decoder\n'
    )
    config = Config.fromfile(str(tmp_path / 'mine.py'))
    (tmp_path / 'dumped.py').write_text(config.pretty_text)
    for read in (config, Config.fromfile(str(tmp_path / 'dumped.py'))):
        model = MODELS.build(read.model)
        decoder = model.panoptic_head.transformer_decoder
        assert {type(layer).__name__ for stage in decoder.stages for layer in stage} == {
            'KMaXLayer'
        }
        assert read.model.panoptic_head.transformer_decoder.num_centers == 12
        assert read.model.criterion.losses.pq.loss_weight == 5.0
        assert read.model.criterion.losses.mask_id.loss_weight == 1.0, 'the rest stays'
