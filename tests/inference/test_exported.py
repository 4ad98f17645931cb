"""The network as an ONNX file, and its segments beside those of PyTorch."""

import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cmt_deeplab.errors import MissingPackageError
from cmt_deeplab.inference.exported import ExportedNetwork, compare
from run_tool import run_tool
from untrained import certain_config, save_untrained


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A config and its checkpoint."""
    folder, config = tmp_path_factory.mktemp('model'), certain_config()
    config.dump(str(folder / 'config.py'))
    return folder / 'config.py', save_untrained(config, folder / 'weights.pth')


@pytest.mark.slow
def test_the_segments_of_onnxruntime_on_real_images(files, real_data, tmp_path):
    for package in ('onnx', 'onnxscript', 'onnxruntime'):
        pytest.importorskip(package, reason=f'needs {package} (the extra "export")')
    images = sorted((real_data / 'coco/val2017').glob('*.jpg'))[:20]
    out = tmp_path / 'model.onnx'
    finished = run_tool('deployment/export_onnx.py', *files, out, '--images', *images)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert 'those of PyTorch on 20 of 20 images' in finished.stdout
    assert min(map(int, re.findall(r'(\d+) segments, the same', finished.stdout))) > 1


def test_a_size_that_the_model_cannot_have(files, tmp_path):
    finished = run_tool('deployment/export_onnx.py', *files, tmp_path / 'x.onnx', '--size', 90, 96)
    assert finished.returncode == 1
    assert 'no inputs of 90x96: give --size 96 96' in finished.stderr


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(MissingPackageError, match=r'onnxruntime.*cmt-deeplab\[export\]'):
        ExportedNetwork('model.onnx')


@pytest.mark.parametrize(
    ('ids', 'moved', 'same'), [([7], 1, True), ([7], 2, False), ([7, 8], 0, False)]
)
def test_single_pixels_may_move(ids, moved, same):
    plain, other = np.full((2, 100, 100), 7)
    other[0, :moved] = 5
    given = iter([([(plain, [dict(id=7)])]), ([(other, [dict(id=number) for number in ids])])])
    network = SimpleNamespace(
        load=str, predict=lambda loaded: next(given), model=SimpleNamespace(network=None)
    )
    (found,) = compare(network, None, ['a.png'])
    assert (found.same, found.other_pixels, found.segments) == (same, moved, 1)
