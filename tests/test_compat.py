"""The stand-in for absent operators, and checkpoints that are read as weights only."""

import subprocess
import sys
import urllib.error
from pathlib import Path

import cmt_deeplab.compat as compat
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint

ROOT = Path(__file__).resolve().parents[1]


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)


def test_the_stand_in_raises_with_the_name_of_the_op_and_the_install_line():
    module = compat._AbsentOps('mmcv._ext')
    with pytest.raises(compat.CompiledOpMissing, match=r"'roi_align_forward'.*pip install .*mmcv"):
        module.roi_align_forward(1, two=2)
    assert not hasattr(module, '__path__')


def test_compiled_ops_that_are_there_stay(monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv._ext', sys)  # any module
    compat.provide_compiled_ops()
    assert sys.modules['mmcv._ext'] is sys


def test_without_compiled_ops_mmdet_imports_and_an_op_says_what_is_missing():
    if not isinstance(sys.modules['mmcv._ext'], compat._AbsentOps):
        pytest.skip('mmcv is installed with its compiled operators')
    from mmcv.ops import nms
    from mmcv.utils.ext_loader import check_ops_exist

    with pytest.raises(compat.CompiledOpMissing, match="'nms'"):
        nms(torch.rand(3, 4), torch.rand(3), 0.5)
    if sys.version_info < (3, 14):  # pkgutil.find_loader, which mmcv uses
        assert not check_ops_exist()


def test_the_second_name_of_the_package_is_refused():
    finished = python('import projects.cmt_deeplab')
    assert "Import this package as 'cmt_deeplab', not as 'projects.cmt_deeplab'" in finished.stderr


def save(tmp_path, **content) -> str:
    torch.save(content, tmp_path / 'checkpoint.pth')
    return str(tmp_path / 'checkpoint.pth')


def test_what_mmengine_saves_is_read_back(tmp_path):
    history = HistoryBuffer([1.0, 2.0, 3.0], [1, 1, 1])
    content = dict(
        state_dict=dict(weight=torch.ones(2)),
        message_hub=dict(log_scalars={'loss': history}),
        array=np.arange(3, dtype=np.uint8),
        scalar=np.float64(0.5),
        integer=np.int64(7),
        flag=np.bool_(True),
        part=slice(1, 3),
        text=np.array(['a', 'b']),
    )
    read = CheckpointLoader.load_checkpoint(save(tmp_path, **content), map_location='cpu')
    assert (
        read['message_hub']['log_scalars']['loss'].mean() == 2
        and read['message_hub']['log_scalars']['loss'].statistics('max') == 3
    )
    assert (
        read['array'].tolist() == [0, 1, 2]
        and read['scalar'] == 0.5
        and read['integer'] == 7
        and read['part'] == slice(1, 3)
    )
    assert torch.equal(read['state_dict']['weight'], torch.ones(2))
    model = torch.nn.Linear(1, 2, bias=False)
    load_checkpoint(model, save(tmp_path, state_dict=dict(weight=torch.ones(2, 1))))
    assert model.weight.sum() == 2


class Attack:
    """Unpickling it calls what ``call`` names."""

    def __init__(self, *call) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize(
    'attack',
    [
        Attack(eval, 'open("attacked", "w")'),
        Attack(getattr, HistoryBuffer, '__init__'),
        Attack(getattr, np.ndarray, 'tofile'),
        Attack(getattr, HistoryBuffer, 'register_statistics'),
    ],
    ids=['eval', 'method', 'array', 'history'],
)
def test_foreign_code_is_refused_in_one_sentence_and_not_retried(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, state_dict={}, extra=attack)
    loads = []
    original = torch.load
    monkeypatch.setattr(
        torch,
        'load',
        lambda *args, **kwargs: loads.append(kwargs['weights_only']) or original(*args, **kwargs),
    )
    with pytest.raises(ValueError, match='could run foreign code') as caught:
        CheckpointLoader.load_checkpoint(path)
    assert path in str(caught.value) and '\n' not in str(caught.value)
    assert loads == [True] and not (tmp_path / 'attacked').exists()


def test_no_path_of_mmengine_leads_around_it(tmp_path, monkeypatch):
    assert getattr not in torch.serialization.get_safe_globals()
    names = ('load_from_local', 'load_from_ceph', 'load_from_http', 'load_from_openmmlab')
    path = save(tmp_path, state_dict={}, extra=Attack(eval, '1'))
    with pytest.raises(ValueError, match='foreign code'):
        mmengine_checkpoint.torch.load(path, weights_only=False)
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):
        assert getattr not in mmengine_checkpoint.get_torch_safe_globals()
        with pytest.raises(ValueError, match='foreign code'):
            mmengine_checkpoint._safe_torch_load(path, weights_only=False)
    assert all(hasattr(mmengine_checkpoint, name) for name in names)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    (tmp_path / 'hub' / 'checkpoints').mkdir(parents=True)
    (tmp_path / 'hub' / 'checkpoints' / 'model.pth').write_bytes(Path(path).read_bytes())
    with pytest.raises(
        ValueError, match='foreign code'
    ):  # the file is in torch's cache: nothing is fetched
        CheckpointLoader.load_checkpoint('https://example.invalid/model.pth')


@pytest.mark.parametrize('content', [b'', b'hello', b'PK\x03\x04 cut'])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / 'damaged.pth').write_bytes(content)
    with pytest.raises(ValueError, match=r'damaged\.pth is damaged'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'damaged.pth'))


def test_an_address_without_a_connection_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError('no route to host')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', unreachable)
    with pytest.raises(
        FileNotFoundError,
        match=r'https://example.invalid/far.pth cannot be fetched \(no route to host\)',
    ):
        CheckpointLoader.load_checkpoint('https://example.invalid/far.pth')


def test_an_absent_file_stays_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        compat.load_weights_only(str(tmp_path / 'absent.pth'))


def test_applying_twice_changes_nothing():
    load_url, safe = mmengine_checkpoint.load_url, len(torch.serialization.get_safe_globals())
    compat.apply()
    assert (
        mmengine_checkpoint.load_url is load_url
        and len(torch.serialization.get_safe_globals()) == safe
    )
