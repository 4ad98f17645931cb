"""The quickstart with tiny numbers, on a config of the same shape as the real one."""
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

CONFIG = f'''
_base_ = ['{ROOT}/configs/_base_/default_runtime.py', '{ROOT}/configs/_base_/datasets/shapes_panoptic.py']
model = dict(
    type='CMTDeepLab', num_things_classes={{{{_base_.num_things_classes}}}}, num_stuff_classes={{{{_base_.num_stuff_classes}}}},
    data_preprocessor=dict(type='PanopticDataPreprocessor', size={{{{_base_.image_size}}}}),
    backbone=dict(type='ResNet', depth=18, base_channels=8, out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN'), norm_eval=False),
    panoptic_head=dict(
        type='CMTPanopticHead', norm_cfg=dict(type='PanopticSyncBN'), act_cfg=dict(type='GELU'),
        pixel_decoder=dict(type='AxialPixelDecoder', filters=(8, 8, 8, 8), num_blocks=(1, 1, 1, 1)),
        transformer_decoder=dict(
            type='CMTTransformerDecoder', num_centres=16, centre_channels=32, layers_per_stage=(1, 1),
            layer=dict(type='CMTLayer', hidden_channels=32, key_channels=32, value_channels=32, ffn_channels=32)),
        predictor=dict(type='CMTPredictor', hidden_channels=32), semantic_head=None),
    criterion=dict(type='PanopticCriterion'),
    merge=dict(type='PanopticMaskWiseMerge'))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
train_cfg = dict(type='PanopticIterBasedTrainLoop', max_iters=100, val_interval=50)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
                   dict(type='PolyLR', power=0.9, by_epoch=False, begin=0, end=100)]
default_hooks = dict(logger=dict(interval=1))
'''


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
    config = tmp_path / 'tiny.py'
    config.write_text(CONFIG)
    quickstart('--config', config, '--work-dir', tmp_path / 'run', '--iters', 4, '--train-images', 4, '--val-images', 3, '--seed', 1)
    *_, path, quality = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / 'run' / 'report.html') and re.fullmatch(r'PQ \d+\.\d\d', quality)
    page = Path(path).read_text()
    assert quality[3:] in page and page.count('data:image/png') == 3 * (3 + 2 + 1)  # pictures, layers, final masks
    for text in ('training loss', 'PQ on 3 validation images', 'Things', 'stripes', 'layer 2, stride 16', '--seed 1', 'torch ', 'Next steps'):
        assert text in page
    assert (tmp_path / 'run' / 'iter_4.pth').is_file()
    logged = list((tmp_path / 'run').glob('*/vis_data/scalars.json'))
    assert len(logged) == 1 and logged[0].read_text().count('coco_panoptic/PQ"') == 2  # validated after 2 and 4 iterations


@pytest.mark.parametrize('arguments, message', [
    (['--config', 'nowhere.py'], 'config nowhere.py does not exist'),
    (['--config', str(ROOT / 'configs' / '_base_' / 'default_runtime.py')], 'no data_root'),
])
def test_a_config_that_cannot_be_used_is_named(quickstart, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        quickstart('--work-dir', tmp_path, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('arguments', [['--iters', '0'], ['--minutes', '-1'], ['--train-images', '0'], ['--seed', '-3']])
def test_bad_numbers_are_refused_before_anything_is_loaded(arguments):
    done = subprocess.run([sys.executable, str(ROOT / 'tools' / 'quickstart.py'), *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and arguments[0] in done.stderr.splitlines()[-1] and 'loading' not in done.stdout
