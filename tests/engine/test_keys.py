"""A documented key works, or the run is refused in a sentence that names it."""

import pytest
import torch
from cmt_deeplab.errors import UserError
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from toy_run import toy_runner

WITHOUT_VALIDATION = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
LAYER_DECAY = dict(
    optim_wrapper__constructor='LearningRateDecayOptimizerConstructor',
    optim_wrapper__paramwise_cfg=dict(decay_rate=0.8, decay_type='layer_wise', num_layers=6),
)


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(optim_wrapper__optimizer__type='AdamX'), "optimizer.type is 'AdamX'"),
        (dict(optim_wrapper__type='AmpOptimWrapper'), "use 'PanopticAmpOptimWrapper'"),
        (LAYER_DECAY, "use 'PanopticOptimWrapperConstructor' with"),
        (dict(activation_checkpointing=['neck']), "activation_checkpointing names 'neck'"),
        (dict(efficient_conv_bn_eval='neck'), "efficient_conv_bn_eval names 'neck'"),
        (dict(auto_scale_lr=dict(_delete_=True, enable=True)), 'auto_scale_lr.base_batch_size'),
        (dict(model__norm_cfg=dict(type='MMSyncBN')), "model.norm_cfg.type is MMSyncBN, .*'Panop"),
    ],
)
def test_a_key_that_cannot_work_is_named(tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        toy_runner(tmp_path, **WITHOUT_VALIDATION, **options).train()


def test_keys_of_the_optimizer_without_effect_are_told(tmp_path):
    options = dict(
        optim_wrapper__optimizer__lr=0,
        optim_wrapper__clip_grad=dict(max_norm=0),
        optim_wrapper__constructor='DefaultOptimWrapperConstructor',
        optim_wrapper__paramwise_cfg=dict(custom_keys=dict(neck=dict(lr_mult=0.1))),
    )
    toy_runner(tmp_path, **WITHOUT_VALIDATION, **options).train()
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert "custom_keys['neck'] matches no parameter" in log
    for key in ('optimizer.lr', 'clip_grad.max_norm'):
        assert f'optim_wrapper.{key} is 0, so that training learns nothing' in log


def test_any_default_hook_is_left_out_by_none(tmp_path):
    runner = toy_runner(tmp_path, default_hooks__batch_size=None, default_hooks__timer=None)
    names = {type(hook).__name__ for hook in runner._hooks}
    assert not names & {'PanopticBatchSizeHook', 'IterTimerHook'}
    assert 'PanopticCheckpointHook' in names


def test_parts_of_the_model_are_recomputed_or_evaluated_as_asked(tmp_path):
    options = dict(activation_checkpointing='backbone', efficient_conv_bn_eval=['backbone'])
    plain, recomputed = (
        toy_runner(tmp_path / name, **WITHOUT_VALIDATION, **each).train().state_dict()
        for name, each in dict(plain={}, recomputed=options).items()
    )
    assert all(torch.equal(value, recomputed[key]) for key, value in plain.items())


def test_the_best_checkpoint_is_that_of_the_highest_pq(tmp_path, monkeypatch):
    import toy

    values = iter([30.0, 20.0])
    monkeypatch.setattr(
        toy.ToyMetric, 'compute_metrics', lambda self, results: dict(PQ=next(values))
    )
    toy_runner(tmp_path, default_hooks__checkpoint__save_best='auto').train()
    assert [path.name for path in tmp_path.glob('best_*')] == ['best_toy_PQ_iter_4.pth']


def test_training_ends_early_where_pq_falls(tmp_path, monkeypatch):
    import toy

    values = iter([30.0, 20.0, 10.0])
    monkeypatch.setattr(
        toy.ToyMetric, 'compute_metrics', lambda self, results: dict(PQ=next(values))
    )
    hook = dict(type='EarlyStoppingHook', monitor='toy/PQ', patience=1)
    runner = toy_runner(tmp_path, custom_hooks=[hook], train_cfg__val_interval=2)
    runner.train()
    assert runner.iter == 4
    for figure in ('coco_panoptic/PQ_th', 'coco_panoptic/SQ', 'PQ', 'cityscapes/RQ'):
        assert (
            EarlyStoppingHook(figure).rule == CheckpointHook(save_best=figure).rules[0] == 'greater'
        )


def test_the_network_alone_is_compiled(tmp_path):
    """What mmengine compiles holds the optimizer's step as well."""
    options = dict(WITHOUT_VALIDATION, train_cfg__max_iters=2)
    torch._dynamo.utils.counters.clear()
    plain = toy_runner(tmp_path / 'plain', **options).train().state_dict()
    assert not torch._dynamo.utils.counters['stats']
    runner = toy_runner(tmp_path / 'compiled', compile=dict(backend='eager'), **options)
    compiled = runner.train().state_dict()
    assert 'train_step' not in vars(runner.model) and 'forward' in vars(runner.model)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 0
    for key, value in plain.items():
        torch.testing.assert_close(compiled[key], value)


@pytest.mark.parametrize(
    'value, words',
    [
        (dict(backend='fast'), 'compile=.*fast.*cannot be used'),
        (dict(fast=True), "unexpected keyword argument 'fast'"),
        (dict(mode='fast'), 'compile=.*cannot be used'),
    ],
)
def test_arguments_of_compile(tmp_path, value, words):
    with pytest.raises(UserError, match=words):
        toy_runner(tmp_path, compile=value, **WITHOUT_VALIDATION).train()
