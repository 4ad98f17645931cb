"""Mistakes in a config that mmengine would ignore, or find out late, and files that do not load."""

import sys
from pathlib import Path

import pytest
import torch
from cmt_deeplab.config_check import check_config
from cmt_deeplab.config_loading import read_config
from cmt_deeplab.errors import UserError, user_sentence
from command_line import CONFIG, ROOT
from toy_run import toy_runner

SHAPES = ROOT / 'configs' / 'cmt_deeplab' / 'cmt-deeplab_tiny_shapes.py'
LEAVES = [
    # top-level keys that nothing reads
    ("work_dirr = 'x'", 'work_dirr, which nothing reads; set work_dir'),
    ('train_dataloder = dict(batch_size=3)', 'set train_dataloader'),
    ("optimizer = dict(type='SGD', lr=0.1)", 'set optim_wrapper.optimizer'),
    ("lr_config = dict(policy='poly')", 'set param_scheduler'),
    ('fp16 = dict(loss_scale=512.0)', 'set optim_wrapper.type'),
    ("resume_from = 'iter_2.pth'", 'set load_from, and resume=True'),
    ("train_dataloader = dict(pin_memory='no')", 'train_dataloader.pin_memory .* a truth value'),
    # values of another kind
    ("resume = 'yes'", "resume is 'yes', but must be a truth value"),
    ("custom_hooks = dict(type='EMAHook')", 'must be a list, not a dict'),
    ("model = 'ToyModel'", "model is 'ToyModel', but must be a dict"),
    ("default_hooks = ['IterTimerHook']", 'must be a dict'),
    ('env_cfg = None', 'env_cfg is None, but must be a dict'),
    ('train_cfg = 5', 'train_cfg is 5, but must be a dict'),
    ("val_evaluator = 'PQ'", 'must be a dict or a list'),
    ("default_hooks = dict(checkpoint=dict(interval='often'))", 'checkpoint.interval is'),
    ("train_dataloader = dict(dataset='coco')", "train_dataloader.dataset is 'coco'"),
    ('train_dataloader = dict(_delete_=True, batch_size=2)', 'train_dataloader has no dataset'),
    ("default_hooks = dict(checkpoint=dict(priority='VERY'))", 'checkpoint.priority .* VERY_LOW'),
    ("val_evaluator = dict(collect_device='tpu')", "collect_device is 'tpu', .* one of cpu, gpu"),
    ("log_processor = dict(num_digits='x')", 'log_processor.num_digits .* a number'),
    ("custom_hooks = ['EMAHook']", 'list whose entries are each a dict, not a word'),
    ("optim_wrapper = dict(optimizer='SGD')", "optim_wrapper.optimizer is 'SGD'"),
    ("optim_wrapper = dict(clip_grad=dict(max_norm='x'))", 'clip_grad.max_norm .* a number'),
    ('train_dataloader = dict(sampler=3)', 'train_dataloader.sampler is 3'),
    ("randomness = dict(deterministic='no')", 'randomness.deterministic .* a truth value'),
    ("val_evaluator = ['PQ']", 'val_evaluator is .* list whose entries are each a dict'),
    ('activation_checkpointing = True', 'activation_checkpointing is True, but must be a list or'),
    ('train_dataloader = dict(num_workers=2.5)', 'num_workers is 2.5, but must be a whole number'),
    ('work_dir = 5', 'work_dir is 5, but must be a word'),
    # arguments that are used late
    ('env_cfg = dict(cudnn_benchmak=True)', "env_cfg gives mmengine the key 'cudnn_benchmak'"),
    ('auto_scale_lr = dict(base_batchsize=1)', "auto_scale_lr .* the key 'base_batchsize'"),
    (
        "optim_wrapper = dict(clip_grad=dict(type='value', max_norm=1))",
        "clip_grad .* the key 'max_norm'",
    ),
    ('default_hooks = dict(checkpoint=dict(intervalx=1))', "CheckpointHook the key 'intervalx'"),
    ('optim_wrapper = dict(clip_grad=dict(max_nrm=1))', "optim_wrapper.clip_grad .*'max_nrm'"),
    ('randomness = dict(sed=1)', "randomness gives mmengine the key 'sed'"),
    # what is missing
    ('optim_wrapper = dict(_delete_=True)', 'optim_wrapper has no optimizer'),
    ('optim_wrapper = dict(optimizer=dict(_delete_=True, lr=1))', 'optimizer has no type'),
    (
        'optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(backbone=0.1)))',
        'paramwise_cfg.custom_keys is .*0.1.*but must be a dict whose entries are each a dict',
    ),
    ("default_scope = 'mmdett'", "default_scope is 'mmdett'.*use 'mmdet'"),
    ("model = dict(act_cfg=dict(type='GELU', inplace=True))", 'act_cfg gives GELU .*inplace'),
    ("model = dict(norm_cfg=dict(type='BNN'))", "model.norm_cfg.type is 'BNN'"),
]
UNREADABLE = [
    ("_base_ = '{configs}/cmt_deeplab/cmt-deeplab_tiny_shape.py'", 'tiny_shapes.py meant'),
    (
        "_base_ = ['{toy}', '{configs}/_base_/schedules/adamw_short.py']",
        'two of its bases set .*train_cfg.*mmdet_config',
    ),
    (
        "_base_ = '{toy}'\nparam_scheduler = dict(type='PolyLR')",
        "scheduler is a dict.*class 'list'.*_delete_",
    ),
    ('model = dict(type=Unknown)', "NameError in line 1: name 'Unknown' is not defined"),
    ('model = dict(', 'SyntaxError.* was never closed'),
    ("custom_imports = dict(imports=['no_such_module'])", "imports the module 'no_such_module'"),
    ('import no_such_module', "imports the module 'no_such_module'"),
    ("custom_imports = ['no_such_module']", 'custom_imports must be a dict'),
]
# a base on the generated scenes, whose variables stand elsewhere when the leaf is read
VARIABLES = [
    ("data_root = '/mine/'", 'data_root=/mine/, .*; set train_dataloader.dataset.data_root'),
    ('num_things_classes = 1', 'num_things_classes=1, .*; set model.num_things_classes'),
    ('batch_size = 99', 'batch_size=99, .*; set train_dataloader.batch_size'),
    ("dataset_type = 'X'", 'dataset_type=X, which nothing reads; set the keys that use it'),
    ("vis_backends = [dict(type='X')]", 'set visualizer.vis_backends'),
    ('learning_rate = 1e-4', 'learning_rate=0.0001, .*; set optim_wrapper.optimizer.lr'),
    ("weights = 'w.pth'", 'weights=w.pth, .*; set load_from'),
    ("checkpoint = 'w.pth'", 'checkpoint=w.pth, .*; set load_from'),
]
# refused by mmengine itself, whose words become a sentence with the key
AT_BUILD = [
    (
        dict(param_scheduler=[dict(type='PolyLRR', by_epoch=False)]),
        'param_scheduler.0.type.*is PolyLR meant',
    ),
    (
        dict(param_scheduler=[dict(type='PolyLR', by_epoch=False, powr=1)]),
        "param_scheduler.0 gives PolyLR.*'powr'",
    ),
    (dict(optim_wrapper__optimizer=dict(_delete_=True, type='SGD', rate=1)), 'has no lr'),
    (dict(optim_wrapper__constructor='No'), "optim_wrapper.constructor is 'No'"),
    (dict(optim_wrapper__clip_grad=dict(type='nrm')), 'of clip_grad should be "norm" or "value"'),
    (dict(optim_wrapper__optimizer__lr=-1), r'optim_wrapper.optimizer \(AdamW\).*Invalid learning'),
    (dict(custom_hooks=[dict(type='EMAHok')]), 'custom_hooks.0.type.*is EMAHook meant'),
    (dict(custom_hooks=[dict(type='EMAHook', foo=1)]), "custom_hooks.0 gives EMAHook .*'foo'"),
    (dict(custom_hooks=[dict(type='EMAHook', momentum=2)]), 'correct custom_hooks.0.momentum'),
    (dict(custom_hooks=[dict(momentum=1)]), 'custom_hooks.0 has no type'),
    (dict(custom_hooks=['EMAHook']), 'custom_hooks .* list whose entries are each a dict'),
    (dict(train_cfg=dict(type='EpochBasedTrainLop')), 'train_cfg.type.*EpochBasedTrainLoop meant'),
    (dict(train_cfg__max_iter=3), "train_cfg gives PanopticIterBasedTrainLoop the key 'max_iter'"),
    (dict(val_cfg=None), 'val_cfg, and val_evaluator should be either all None or not None'),
    (dict(val_evaluator__type='ToyMetricc'), 'val_evaluator.type.*is ToyMetric meant'),
    (dict(train_dataloader__sampler__type='No'), "train_dataloader.sampler.type is 'No'"),
    (dict(train_dataloader__sampler__foo=1), "train_dataloader.sampler gives .* the key 'foo'"),
    (dict(train_dataloader__foo=1), "train_dataloader gives DataLoader the key 'foo'"),
    (dict(train_dataloader__num_workers=-1), r'train_dataloader \(DataLoader\).*non-negative'),
    (dict(train_dataloader__dataset__foo=1), "train_dataloader.dataset gives ToyDataset.*'foo'"),
    (dict(visualizer__vis_backends=[dict(type='No')]), 'visualizer.vis_backends.0.type'),
    (dict(log_processor__foo=1), "log_processor gives LogProcessor the key 'foo'"),
    (dict(env_cfg__mp_cfg__mp_start_method='no'), "cannot find context for 'no'"),
    (dict(env_cfg__mp_cfg__mp_start_method='no'), 'correct env_cfg.mp_cfg.mp_start_method'),
    (dict(randomness__seed=-1), 'randomness cannot be used: Seed must be between 0'),
    (dict(log_level='LOUD'), "log_level cannot be used: there is no 'LOUD'"),
    (dict(train_cfg=dict(_delete_=True)), "train_cfg does not give .* its 'max_iters'"),
    (dict(model=dict(_delete_=True)), 'model has no type'),
    (
        dict(visualizer__vis_backends=[dict(type='DVCLiveVisBackend')]),
        r'visualizer.vis_backends.0 \(DVCLiveVisBackend\) cannot be used: .*pip install dvclive',
    ),
    (dict(load_from='modelzoo://x'), 'modelzoo://x cannot be read'),
    (dict(load_from='there/is/none.pth'), 'there/is/none.pth does not exist'),
    (dict(default_hooks__checkpoint__out_dir='/proc/x'), '/proc/x/.* cannot be written'),
    (dict(default_hooks__checkpoint__backend_args=dict(backend='x')), "there is no 'x'"),
    (dict(runner_type='Runnerr'), "runner_type is 'Runnerr'"),
    (dict(model__foo=1), "model gives ToyModel the key 'foo'"),
]


def leaf(folder: Path, text: str) -> str:
    path = folder / 'leaf.py'
    path.write_text(text.format(configs=ROOT / 'configs', toy=CONFIG, shapes=SHAPES))
    return str(path)


@pytest.mark.parametrize('text, words', LEAVES)
def test_a_mistake_is_named_before_anything_is_built(text, words, tmp_path):
    config = read_config(leaf(tmp_path, f"_base_ = '{CONFIG}'\n{text}\n"))
    with pytest.raises(UserError, match=words) as error:
        check_config(config)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'text',
    [
        "optimizer = dict(type='SGD', lr=0.1)\noptim_wrapper = dict(optimizer=optimizer)",
        'train_pipeline = []\nbase_lr = 1e-3',
        'optim_wrapper = dict(clip_grad=dict(max_norm=1, norm_type=2))',
        'default_hooks = dict(checkpoint=dict(save_optimizer=False, save_best=None))',
        "default_hooks = dict(checkpoint=dict(priority='LOW'))",
        'default_hooks = None',
        "model = dict(neck=dict(type='CSPNeXtPAFPN', conv_cfg=dict(type='Conv2d')))",
        "optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=512.0)",
        "optim_wrapper = dict(type='AmpOptimWrapper', loss_scale=dict(init_scale=512.0))",
        "optim_wrapper = dict(clip_grad=dict(max_norm=1, norm_type='inf'))",
    ],
)
def test_variables_and_late_arguments_that_are_right(text, tmp_path):
    check_config(read_config(leaf(tmp_path, f"_base_ = '{CONFIG}'\n{text}\n")))


@pytest.mark.parametrize('text, words', VARIABLES)
def test_a_variable_of_the_base_has_no_effect_in_the_leaf(text, words, tmp_path):
    with pytest.raises(UserError, match=words):
        check_config(read_config(leaf(tmp_path, f"_base_ = '{{shapes}}'\n{text}\n")))


def test_variables_that_the_leaf_reads_and_configs_that_mmengine_wrote_are_right(tmp_path):
    text = "_base_ = '{shapes}'\ndata_root = '/mine/'\nnum_things_classes = 1\n"
    text += 'scenes = dict(data_root=data_root)\ntrain_dataloader = dict(dataset=scenes)\n'
    text += 'model = dict(num_things_classes=num_things_classes)\n'
    text += "model.update(init_cfg=[dict(type='Normal', layer='Conv2d', std=0.01)])\n"
    config = read_config(leaf(tmp_path, text))
    check_config(config)
    config.dump(tmp_path / 'dumped.py')
    check_config(read_config(str(tmp_path / 'dumped.py')))


@pytest.mark.parametrize(
    'text, words',
    [
        ('author = 3', 'The config sets author=3, which nothing reads'),
        (
            'train_dataloader = dict(dataset=dict(image_size=(64, 64)))',
            'train_dataloader.dataset.image_size=(64, 64)',
        ),
    ],
)
def test_what_may_be_meant_is_warned_of(text, words, tmp_path):
    assert check_config(read_config(leaf(tmp_path, "_base_ = '{shapes}'\n"))) == []
    said = check_config(read_config(leaf(tmp_path, f"_base_ = '{{shapes}}'\n{text}\n")))
    assert len(said) == 1 and words in said[0]


def test_words_of_other_programs_may_stand_in_a_config_that_inherits_nothing(tmp_path):
    config = read_config(leaf(tmp_path, "_base_ = '{shapes}'\n"))
    config.dump(tmp_path / 'dumped.py')
    text = (tmp_path / 'dumped.py').read_text()
    (tmp_path / 'dumped.py').write_text(f"{text}\nseed = 3\nload_from = 'swin_base_.pth'\n")
    assert check_config(read_config(str(tmp_path / 'dumped.py'))) == []


def test_images_of_training_and_test_may_differ_where_the_input_has_no_fixed_size(tmp_path):
    text = "_base_ = '{shapes}'\ntrain_dataloader = dict(dataset=dict(image_size=(64, 64)))\n"
    (said,) = check_config(read_config(leaf(tmp_path, text)))
    assert 'or set model.data_preprocessor.size=None' in said
    text += 'model = dict(data_preprocessor=dict(size=None))'
    assert check_config(read_config(leaf(tmp_path, text))) == []


@pytest.mark.parametrize('path', sorted((ROOT / 'configs').glob('*/*tiny*_shapes.py')), ids=str)
def test_the_check_accepts_our_configs(path):
    check_config(read_config(str(path)))


@pytest.mark.parametrize('text, words', UNREADABLE)
def test_why_a_file_does_not_load(text, words, tmp_path):
    with pytest.raises(UserError, match=words) as error:
        read_config(leaf(tmp_path, text))
    assert '\n' not in str(error.value)


def test_a_fault_in_a_module_that_is_imported_keeps_its_trace(tmp_path, monkeypatch):
    (tmp_path / 'faulty_module.py').write_text('None + 1\n')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TypeError, match='unsupported operand'):
        read_config(leaf(tmp_path, "custom_imports = dict(imports=['faulty_module'])"))
    assert 'faulty_module' not in sys.modules


@pytest.mark.parametrize('options, words', AT_BUILD, ids=lambda value: str(value)[:60])
def test_what_mmengine_cannot_build_is_named_by_its_key(options, words, tmp_path):
    with pytest.raises(UserError, match=words) as error:
        toy_runner(tmp_path, **options).train()
    assert '\n' not in str(error.value)


def test_an_error_that_met_library_code_alone_is_no_mistake_of_the_config():
    with pytest.raises(RuntimeError) as raised:
        torch.nn.Linear(2, 3)(torch.ones(4))
    error = raised.value.with_traceback(raised.value.__traceback__.tb_next)
    assert user_sentence(error) is None
