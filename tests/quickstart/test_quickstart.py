"""The quickstart with tiny numbers, on its own config."""

import re
import subprocess
import sys
from json import loads
from pathlib import Path

import pytest
from mmengine.config import Config
from quickstart import ROOT
from quickstart.command import DEFAULT_CONFIG, main
from quickstart.config import move_paths, shorten


@pytest.fixture
def quickstart(monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['tools/quickstart.py', *map(str, arguments)])
        main()

    return run


def test_it_trains_evaluates_and_writes_the_page(quickstart, tmp_path, capsys):
    folder = tmp_path / 'run'
    images = ('--train-images', 8, '--val-images', 3)
    quickstart('--work-dir', folder, '--iters', 2, *images, '--seed', 1)
    lines = capsys.readouterr().out.splitlines()
    path, quality = lines[-2:]
    assert path == str(folder / 'report.html') and re.fullmatch(r'PQ \d+\.\d\d', quality)
    assert f'iteration 2: {quality} (things ' in '\n'.join(lines)  # that of the metric
    page = Path(path).read_text()
    assert f'<title>CMT-DeepLab quickstart: {quality}</title>' in page
    # three pictures, two layers and the final mask of each image
    assert len(re.findall('class="picture[ "]', page)) == 3 * 3
    assert page.count('class="assignment') == 3 * 3
    assert page.count('class="chart"') == 2 + 5 + 1  # the last is that of the learning rate
    for text in (
        'Training loss',
        'PQ in percent on the validation images',
        'things',
        'stripes',
        'layer 2, stride 8',
        'final mask, stride 4',
        '--seed 1',
        'torch ',
        'Next steps',
    ):
        assert text in page
    named = set(re.findall(r'\b(?:tools|configs)/[\w/.-]+\.(?:py|sh)', page))
    assert len(named) >= 6 and all((ROOT / path).is_file() for path in named)
    assert (folder / 'iter_2.pth').is_file()
    logged = list(folder.glob('*/vis_data/scalars.json'))
    # during the run and at its end
    assert len(logged) == 1 and logged[0].read_text().count('coco_panoptic/PQ"') >= 2


def test_a_run_cut_by_its_time_says_so_and_ends_at_the_end_of_its_schedule(
    quickstart, tmp_path, capsys
):
    """The time is over before the first of four iterations; the last one is run all the same."""
    images = ('--train-images', 8, '--val-images', 3)
    quickstart('--work-dir', tmp_path, '--iters', 4, '--minutes', 1e-5, *images)
    said = capsys.readouterr().out
    assert 'warning: At the present speed the training takes longer than' in said
    assert 'warning: 3 of the 4 iterations were skipped to end in' in said
    (logged,) = tmp_path.glob('*/vis_data/scalars.json')
    (row,) = [row for row in map(loads, logged.read_text().splitlines()) if 'lr' in row]
    rate = Config.fromfile(DEFAULT_CONFIG).optim_wrapper.optimizer.lr
    assert row['lr'] == pytest.approx(rate * (1 - 3 / 4) ** 0.9)
    assert '1 iterations (3 more were skipped' in (tmp_path / 'report.html').read_text()


@pytest.mark.parametrize(
    'config, message',
    [
        ('nowhere.py', 'config nowhere.py does not exist'),
        (str(ROOT / 'configs' / '_base_' / 'default_runtime.py'), 'no data_root'),
    ],
)
def test_a_config_that_cannot_be_used_is_named(quickstart, tmp_path, capsys, config, message):
    with pytest.raises(SystemExit, match='1'):
        quickstart('--work-dir', tmp_path, '--config', config)
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'arguments', [['--iters', '0'], ['--minutes', '-1'], ['--train-images', '0'], ['--seed', '-3']]
)
def test_bad_numbers_are_refused_before_anything_is_loaded(arguments):
    script = str(ROOT / 'tools' / 'quickstart.py')
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and arguments[0] in done.stderr.splitlines()[-1]
    assert 'loading' not in done.stdout


def test_a_shorter_run_keeps_the_form_of_its_schedule():
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=1000, val_interval=500),
            param_scheduler=[
                dict(type='LinearLR', begin=0, end=100),
                dict(type='PolyLR', begin=0, end=1000),
            ],
        )
    )
    shorten(cfg, 100)
    assert cfg.train_cfg == dict(max_iters=100, val_interval=50)
    assert [(s['begin'], s['end']) for s in cfg.param_scheduler] == [(0, 10), (0, 100)]
    shorten(cfg, 10)  # a warm-up of one iteration is left out
    assert [s['type'] for s in cfg.param_scheduler] == ['PolyLR']

    cfg = Config(dict(train_cfg=dict(max_iters=1000), param_scheduler=dict(type='W', warmup=100)))
    shorten(cfg, 100)
    assert cfg.param_scheduler == [dict(type='W', warmup=10)]


def test_data_paths_move_and_nothing_else_does():
    cfg = Config.fromfile(DEFAULT_CONFIG)
    moved = move_paths(cfg.train_dataloader, cfg.data_root, '/new/')
    assert moved['dataset']['data_root'] == '/new/'
    assert moved['dataset']['data_prefix'] == cfg.train_dataloader.dataset.data_prefix
    assert moved['dataset']['pipeline'] == cfg.train_dataloader.dataset.pipeline
    assert move_paths(['data/shapes/a', 3, None], 'data/shapes/', '/new/') == ['/new/a', 3, None]
