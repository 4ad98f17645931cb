"""Checkpoints of earlier releases resume; ``earlier/make.py`` made them."""

import json
from pathlib import Path

import pytest
from mmengine.hooks import EMAHook, Hook
from toy_run import toy_runner

EARLIER = Path(__file__).with_name('earlier')
RESULTS = json.loads((EARLIER / 'results.json').read_text())


class Losses(Hook):
    def __init__(self):
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append(outputs['loss'].item())


@pytest.mark.parametrize('release', RESULTS)
def test_what_follows_is_what_followed_with_the_code_of_the_release(tmp_path, release):
    """To the bit on one machine; another processor may round otherwise."""
    runner = toy_runner(
        tmp_path,
        resume=True,
        load_from=str(EARLIER / f'{release}.pth'),
        train_dataloader__dataset__noise=0.0,
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        val_dataloader=None,
        val_cfg=None,
        val_evaluator=None,
    )
    runner.model.dropout.p = 0.0
    losses = Losses()
    runner.register_hook(losses)
    runner.train()
    assert losses.values == pytest.approx(RESULTS[release]['losses'][4:], rel=1e-5)
    averaged = next(hook.ema_model for hook in runner.hooks if isinstance(hook, EMAHook))
    sums = [
        sum(parameter.abs().sum().item() for parameter in model.parameters())
        for model in (runner.model, averaged)
    ]
    assert sums == pytest.approx(RESULTS[release]['sums'], rel=1e-6)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count(f'{release}.pth is of an earlier release') == 1
    assert 'other settings' not in log and 'another order' not in log
