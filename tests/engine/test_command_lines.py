"""train.py and test.py as a user runs them, and one sentence for each mistake."""

import importlib.util
import json
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from command_line import CONFIG, ROOT, run
from mmengine.fileio import load
from toy_run import toy_config, toy_runner


def main(monkeypatch, tool: str, *arguments) -> None:
    """Runs a command line in this process."""
    spec = importlib.util.spec_from_file_location(f'tool_{tool}', ROOT / f'tools/{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
    with monkeypatch.context() as patch:  # the toy config under a new name each time
        patch.setattr('cmt_deeplab.config_loading.Config.fromfile', lambda path: toy_config(None))
        module.main()


def error(monkeypatch, capsys, tool: str, *arguments) -> str:
    """The last line of the error output of a command line that ends with exit code 1."""
    with pytest.raises(SystemExit) as caught:
        main(monkeypatch, tool, *arguments)
    assert caught.value.code == 1
    output = capsys.readouterr().err
    last = output.strip().splitlines()[-1]
    assert last.startswith('Error: ') and 'Traceback' not in output
    return last


def test_killed_resumed_and_tested(tmp_path, monkeypatch):
    whole, killed = tmp_path / 'whole', tmp_path / 'killed'
    toy_runner(whole).train()
    # two images per iteration and a checkpoint every two iterations: killed in the sixth
    options = ('--cfg-options', 'train_dataloader.dataset.killed_at=11')
    finished = run(ROOT / 'tools/train.py', CONFIG, '--work-dir', killed, *options)
    assert finished.returncode == -signal.SIGKILL, finished.stderr[-2000:]
    assert {path.name for path in killed.glob('iter_*.pth')} == {'iter_2.pth', 'iter_4.pth'}

    main(monkeypatch, 'train', CONFIG, '--work-dir', killed, '--resume')
    first, second = (
        torch.load(folder / 'iter_8.pth', weights_only=True)['state_dict']
        for folder in (whole, killed)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)

    main(
        monkeypatch,
        'test',
        CONFIG,
        killed / 'iter_8.pth',
        '--work-dir',
        tmp_path / 'test',
        '--out',
        tmp_path / 'predictions.pkl',
    )
    results = json.loads(next((tmp_path / 'test').glob('*/*.json')).read_text())
    assert results['toy/count'] == 5
    predictions = load(tmp_path / 'predictions.pkl')
    assert sorted(sample['index'] for sample in predictions) == [0, 1, 2, 3, 4]


class Foreign:
    """An object that no checkpoint should hold."""


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('trained')
    toy_runner(folder, train_cfg__max_iters=2).train()
    return folder / 'iter_2.pth'


def test_mistakes_are_one_sentence(tmp_path, monkeypatch, capsys, checkpoint):
    work = ('--work-dir', tmp_path / 'work')
    for tool in ('train', 'test'):
        extra = (checkpoint,) if tool == 'test' else ()
        assert 'no_config.py does not exist' in error(
            monkeypatch, capsys, tool, 'no_config.py', *extra
        )
    assert 'no.pth does not exist' in error(monkeypatch, capsys, 'test', CONFIG, 'no.pth', *work)
    assert 'no.pth does not exist' in error(
        monkeypatch, capsys, 'train', CONFIG, '--resume', 'no.pth', *work
    )
    assert 'no.pth does not exist' in error(
        monkeypatch, capsys, 'train', CONFIG, '--cfg-options', 'load_from=no.pth', *work
    )
    assert 'ends in .pkl' in error(
        monkeypatch, capsys, 'test', CONFIG, checkpoint, '--out', 'x.json', *work
    )
    assert 'base_batch_size' in error(
        monkeypatch,
        capsys,
        'train',
        CONFIG,
        '--auto-scale-lr',
        '--cfg-options',
        'auto_scale_lr=None',
        *work,
    )
    counts = error(
        monkeypatch, capsys, 'train', CONFIG, '--cfg-options', 'model.num_things_classes=3', *work
    )
    assert 'num_things_classes=3' in counts and 'ToyDataset' in counts

    (tmp_path / 'work').mkdir(exist_ok=True)
    (tmp_path / 'work' / 'last_checkpoint').write_text(str(tmp_path / 'gone.pth'))
    assert 'gone.pth' in error(monkeypatch, capsys, 'train', CONFIG, '--resume', *work)


def test_tensorboard(tmp_path, monkeypatch, capsys):
    from mmengine.config import Config

    base = Config.fromfile(str(ROOT / 'configs/_base_/tensorboard.py'))
    assert base.runner_type == 'PanopticRunner'
    backends = base.visualizer.vis_backends
    assert [backend.type for backend in backends] == ['LocalVisBackend', 'TensorboardVisBackend']
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)  # as if not installed
    options = (
        '--cfg-options',
        'visualizer.vis_backends.0.type=TensorboardVisBackend',
        '--work-dir',
        tmp_path,
    )
    told = error(monkeypatch, capsys, 'train', CONFIG, *options)
    assert 'visualizer.vis_backends.0 (TensorboardVisBackend)' in told and 'pip install' in told


def test_checkpoints_that_do_not_fit_are_named(tmp_path, monkeypatch, capsys, checkpoint):
    work = ('--work-dir', tmp_path / 'work')
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    renamed = {f'other.{key}': value for key, value in state.items()}
    partial = {key: value for key, value in state.items() if not key.startswith('head')}
    wrong = {
        'renamed.pth': dict(state_dict=renamed),
        'partial.pth': dict(state_dict=partial),
        'list.pth': [1, 2],
        'foreign.pth': dict(state_dict=state, extra=Foreign()),
    }
    for name, content in wrong.items():
        torch.save(content, tmp_path / name)
    (tmp_path / 'cut.pth').write_bytes(checkpoint.read_bytes()[:1000])
    (tmp_path / 'text.pth').write_text('hello')
    expected = {
        'renamed.pth': 'of another model: 0 of',
        'partial.pth': "it has no 'head.weight'",
        'list.pth': 'holds a list',
        'foreign.pth': 'Foreign',
        'cut.pth': 'damaged',
        'text.pth': 'damaged',
    }
    for name, sentence in expected.items():
        assert sentence in error(monkeypatch, capsys, 'test', CONFIG, tmp_path / name, *work), name
    options = ('--cfg-options', f'load_from={tmp_path / "renamed.pth"}')
    assert 'of another model' in error(monkeypatch, capsys, 'train', CONFIG, *options, *work)
    assert "it has no 'head.weight'" in error(
        monkeypatch, capsys, 'train', CONFIG, '--resume', tmp_path / 'partial.pth', *work
    )
    content = torch.load(checkpoint, weights_only=True)
    del content['settings']  # as former versions wrote
    groups = content['optimizer']['param_groups']
    groups[0]['params'].append(groups[1]['params'].pop())
    torch.save(content, tmp_path / 'groups.pth')
    assert 'train on from its weights with load_from=' in error(
        monkeypatch, capsys, 'train', CONFIG, '--resume', tmp_path / 'groups.pth', *work
    )
    shapes = error(
        monkeypatch, capsys, 'test', CONFIG, checkpoint, '--cfg-options', 'model.width=9', *work
    )
    assert '(8, 4) in the checkpoint and (9, 4)' in shapes


def test_fine_tuning_takes_a_checkpoint_whose_classes_differ(tmp_path, checkpoint):
    state = torch.load(checkpoint, weights_only=True)['state_dict']
    state['head.weight'] = torch.zeros(3, 8)
    torch.save(dict(state_dict=state), tmp_path / 'other_classes.pth')
    runner = toy_runner(
        tmp_path, load_from=str(tmp_path / 'other_classes.pth'), train_cfg__max_iters=1
    )
    runner.train()
    assert runner.iter == 1


@pytest.mark.parametrize(
    'scaled, accumulated, lr', [(False, 1, 1e-2), (True, 1, 1e-2 * 2 / 8), (True, 4, 1e-2)]
)
def test_learning_rate_scales_with_the_batch_of_an_optimizer_step(
    tmp_path, scaled, accumulated, lr
):
    runner = toy_runner(
        tmp_path,
        auto_scale_lr__enable=scaled,
        optim_wrapper__accumulative_counts=accumulated,
        train_cfg__max_iters=4,
        param_scheduler=None,
    )
    runner.train()
    assert runner.optim_wrapper.param_groups[0]['lr'] == pytest.approx(lr)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert f'Effective batch size {2 * accumulated} =' in log
    assert ('scale it with' in log) is not scaled


def test_the_tools_of_mmdet_find_the_runner():
    """They look it up in mmengine's registry, before a scope is set."""
    from mmengine.registry import RUNNERS

    assert 'PanopticRunner' in RUNNERS.module_dict


@pytest.mark.slow
def test_the_train_tool_of_mmdet_trains(tmp_path):
    tool = Path(find_spec('mmdet').origin).parent / '.mim' / 'tools' / 'train.py'
    options = ('--work-dir', tmp_path, '--cfg-options', 'train_cfg.max_iters=2')
    finished = run(tool, CONFIG, *options)
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert (tmp_path / 'iter_2.pth').is_file()
