"""The quickstart with tiny numbers, on its own config."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def quickstart(monkeypatch):
    spec = importlib.util.spec_from_file_location('quickstart', ROOT / 'tools' / 'quickstart.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['tools/quickstart.py', *map(str, arguments)])
        module.main()

    return run


def test_it_trains_evaluates_and_writes_the_page(quickstart, tmp_path, capsys):
    quickstart(
        '--work-dir',
        tmp_path / 'run',
        '--iters',
        4,
        '--train-images',
        8,
        '--val-images',
        3,
        '--seed',
        1,
    )
    *_, path, quality = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / 'run' / 'report.html') and re.fullmatch(r'PQ \d+\.\d\d', quality)
    page = Path(path).read_text()
    assert quality[3:] in page and page.count('data:image/png') == 3 * (
        3 + 2 + 1
    )  # pictures, layers, final masks
    for text in (
        'training loss',
        'PQ on 3 validation images',
        'Things',
        'stripes',
        'layer 2, stride 8',
        'final mask, stride 4',
        '--seed 1',
        'torch ',
        'Next steps',
    ):
        assert text in page
    assert (tmp_path / 'run' / 'iter_4.pth').is_file()
    logged = list((tmp_path / 'run').glob('*/vis_data/scalars.json'))
    assert (
        len(logged) == 1 and logged[0].read_text().count('coco_panoptic/PQ"') >= 2
    )  # during the run and at its end


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--config', 'nowhere.py'], 'config nowhere.py does not exist'),
        (['--config', str(ROOT / 'configs' / '_base_' / 'default_runtime.py')], 'no data_root'),
    ],
)
def test_a_config_that_cannot_be_used_is_named(quickstart, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        quickstart('--work-dir', tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'arguments', [['--iters', '0'], ['--minutes', '-1'], ['--train-images', '0'], ['--seed', '-3']]
)
def test_bad_numbers_are_refused_before_anything_is_loaded(arguments):
    done = subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'quickstart.py'), *arguments],
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 2
        and arguments[0] in done.stderr.splitlines()[-1]
        and 'loading' not in done.stdout
    )
