"""What the quickstart prints while it runs."""

import io
from types import SimpleNamespace

import pytest
from cmt_deeplab.reports.progress import ProgressHook, QuietRunner, progress_bar
from helpers.toy_run import toy_config
from mmengine.logging import MessageHub
from rich.console import Console

FIGURES = dict(PQ=12.34, PQ_th=5.0, PQ_st=20.0)


def shown(*, terminal: bool, encoding: str = 'utf-8') -> str:
    """A run of 40 iterations with two validations, and what it printed."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline='')
    bar = progress_bar()
    bar.live.console = Console(file=stream, force_terminal=terminal, width=100, color_system=None)
    hub = MessageHub(f'progress-{terminal}-{encoding}')
    loader = SimpleNamespace(dataset=range(7), __len__=lambda: 2)
    runner = SimpleNamespace(max_iters=40, iter=0, message_hub=hub)
    runner.val_dataloader = type(
        'Loader', (), {'__len__': lambda _: 2, 'dataset': loader.dataset}
    )()
    hook = ProgressHook(bar)
    with bar:
        hook.before_train(runner)
        for runner.iter in range(40):
            hub.update_scalar('train/loss', 4.0)
            hook.after_train_iter(runner, runner.iter)
            if runner.iter in (19, 39):
                runner.iter += 1
                hook.before_val(runner)
                hook.after_val_iter(runner, 0)
                hook.after_early_figures(runner, {}, f'early figures at iteration {runner.iter}')
                hook.after_val_epoch(runner, {f'coco_panoptic/{k}': v for k, v in FIGURES.items()})
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_a_log_file_has_a_line_at_each_tenth_and_at_each_validation():
    text = shown(terminal=False)
    assert '\r' not in text and '\x1b' not in text
    lines = text.splitlines()
    assert lines[0] == '  training 4/40: loss 4.000'
    assert sum('training' in line and 'loss' in line for line in lines) == 10 + 1  # and the bar
    assert lines.count('  early figures at iteration 20') == 1
    assert sum('PQ 12.34 (things 5.00, stuff 20.00) on 7 images' in line for line in lines) == 2
    assert lines[-1].startswith('training') and '40/40 loss 4.000  PQ 12.3' in lines[-1]


def test_a_terminal_has_bars_and_the_validations_above_them():
    text = shown(terminal=True)
    assert '\x1b' in text and 'training 4/40:' not in text
    assert text.count('iteration 40: PQ 12.34 (things 5.00, stuff 20.00) on 7 images') == 1
    assert 'validating' not in text.splitlines()[-1]


@pytest.mark.parametrize('encoding', ['ascii', 'latin-1'])
def test_an_output_without_unicode_is_no_problem(encoding):
    text = shown(terminal=False, encoding=encoding)
    assert '40/40' in text


def test_the_terminal_has_the_warnings_of_the_log_and_nothing_else(tmp_path, capsys):
    runner = QuietRunner.from_cfg(toy_config(tmp_path))
    capsys.readouterr()  # the warnings about the config
    runner.logger.info('a line of the log')
    runner.logger.warning('[1/2] images are "faulty"')
    runner.logger.warning('This function will be deprecated.')
    runner.logger.error('an error')
    shown = capsys.readouterr().out.splitlines()
    assert shown == ['  warning: [1/2] images are "faulty"', '  error: an error']


def test_losses_are_not_read_in_each_iteration(monkeypatch):
    """As the host waits for a GPU whenever they are."""
    hub, read = MessageHub('progress-reads'), []
    get = hub.get_scalar
    monkeypatch.setattr(hub, 'get_scalar', lambda key: read.append(key) or get(key))
    runner = SimpleNamespace(max_iters=300, iter=0, message_hub=hub)
    with progress_bar() as bar:
        hook = ProgressHook(bar)
        hook.before_train(runner)
        for runner.iter in range(300):
            hub.update_scalar('train/loss', 4.0)
            hook.after_train_iter(runner, runner.iter)
    assert read == ['train/loss'] * 30
