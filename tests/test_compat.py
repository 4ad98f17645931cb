"""The stand-in for absent operators, and checkpoints that are read as weights only."""

import os
import pickle
import re
import shutil
import subprocess
import sys
import urllib.error
from collections import Counter, OrderedDict
from pathlib import Path

import cmt_deeplab.compat as compat
import numpy as np
import pytest
import torch
from cmt_deeplab.errors import UserError
from cmt_deeplab.safe_loading import load_weights_only
from mmdet.apis import DetInferencer, init_detector
from mmdet.registry import MODELS
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint
from mmengine.runner.checkpoint import CheckpointLoader, load_checkpoint
from toy_run import toy_runner

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / 'configs/cmt_deeplab/cmt-deeplab_tiny_shapes.py'


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


def test_what_is_unusual_is_no_reason_to_refuse(tmp_path):
    small = torch.ones(2).to(torch.float8_e4m3fn)
    names = [np.str_('Straße'), np.str_('bicycle')]
    content = dict(
        state_dict=dict(weight=small),
        meta=dict(dataset_meta=dict(classes=names)),
        message_hub=dict(log_scalars={'loss': HistoryBuffer()}),
        names=np.array(names),
        numbers=(np.complex64(1j), 2j, b'', np.int64(1)),
        members=set(range(20_000)),
        pairs={(number, -number): number for number in range(20_000)},
    )
    read = CheckpointLoader.load_checkpoint(save(tmp_path, **content))
    assert torch.equal(read['state_dict']['weight'].float(), small.float())
    assert read['meta']['dataset_meta']['classes'] == names == read['names'].tolist()
    assert len(read['message_hub']['log_scalars']['loss'].data[0]) == 0
    for key in ('numbers', 'members', 'pairs'):
        assert read[key] == content[key]
    assert type(read['numbers'][-1]) is np.int64


def test_a_plain_pickle_is_called_so(tmp_path):
    path = tmp_path / 'R-50.pkl'
    path.write_bytes(pickle.dumps(dict(model=dict(weight=np.ones(2)))))
    with pytest.raises(UserError, match='R-50.pkl is not read because it is a plain pickle'):
        CheckpointLoader.load_checkpoint(str(path))


def test_what_other_code_bases_and_releases_save_is_read_back(tmp_path):
    weights = torch.nn.Linear(2, 3).state_dict()  # has versions of its modules
    old = Attack(torch.nn.Parameter)  # torch before 0.4 keeps a parameter so
    old.state = torch.ones(2), None, OrderedDict(), True, False
    named = torch.ones(3)
    named.of = 'a name'
    expanded, transposed = torch.ones(1, 3).expand(4, 3), torch.arange(6.0).view(2, 3).t()
    weights |= dict(old=old, named=named, expanded=expanded, transposed=transposed)
    weights |= dict(parameter=torch.nn.Parameter(torch.ones(2)), empty=torch.zeros(0, 5))
    weights |= dict(
        half=torch.ones(2).half(), brain=torch.ones(2).bfloat16(), scalar=torch.tensor(1)
    )
    meta = dict(
        CLASSES=('a', 'b'), PALETTE=[(1, 2, 3)], env_info='text', hook_msgs={}, parts={1, 2}
    )
    meta |= dict(count=Counter(a=1), ids={2**40: 1}, pairs={(1, 2): 3}, size=torch.Size([1, 2]))
    content = dict(state_dict=weights, meta=meta, iteration=2**40)
    for new_format in (False, True):
        if new_format:  # the old one has no storage for it
            weights['wide'] = torch.ones(2).to(torch.uint16)
        path = tmp_path / 'other.pth'
        torch.save(content, path, _use_new_zipfile_serialization=new_format)
        read = CheckpointLoader.load_checkpoint(str(path))
        assert read['meta'] == meta and read['iteration'] == 2**40
        assert read['state_dict'].keys() == weights.keys()
        assert read['state_dict'].pop('old').tolist() == [1, 1]
        for name, value in read['state_dict'].items():
            assert value.dtype == weights[name].dtype and torch.equal(value, weights[name])
        assert read['state_dict']._metadata[''] == dict(version=1)


class Attack:
    """Unpickling it calls what ``call`` names."""

    def __init__(self, *call) -> None:
        self.call = call

    state = None

    def __reduce__(self):
        return self.call[0], self.call[1:], self.state


ATTACKS = {
    'eval': Attack(eval, 'open("attacked", "w")'),
    'method': Attack(getattr, HistoryBuffer, '__init__'),
    'array': Attack(getattr, np.ndarray, 'tofile'),
    'history': Attack(getattr, HistoryBuffer, 'register_statistics'),
}


@pytest.mark.parametrize('attack', ATTACKS.values(), ids=ATTACKS)
def test_foreign_code_is_refused_in_one_sentence_and_not_retried(tmp_path, monkeypatch, attack):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path, state_dict={}, extra=attack)
    loads = []
    original = torch.load
    monkeypatch.setattr(
        torch, 'load', lambda *args, **kwargs: loads.append(1) or original(*args, **kwargs)
    )
    for load in (CheckpointLoader.load_checkpoint, load_weights_only):
        with pytest.raises(UserError, match='could run foreign code') as caught:
            load(path)
        assert path in str(caught.value) and '\n' not in str(caught.value)
    assert not (tmp_path / 'attacked').exists()
    assert getattr not in torch.serialization.get_safe_globals()
    assert len(loads) <= 2  # the fork holds the true torch.load since its import


def load_from_address(path, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    shutil.copy(path, cache / 'model.pth')  # so nothing is fetched
    CheckpointLoader.load_checkpoint('https://example.invalid/model.pth')


def load_in_training(path, tmp_path, monkeypatch):
    toy_runner(tmp_path / 'work', load_from=path).train()


def load_when_resuming(path, tmp_path, monkeypatch):
    toy_runner(tmp_path / 'work', load_from=path, resume=True).train()


def load_the_newest(path, tmp_path, monkeypatch):
    tmp_path.mkdir()
    (tmp_path / 'last_checkpoint').write_text(path)
    toy_runner(tmp_path, resume=True).train()


def load_in_testing(path, tmp_path, monkeypatch):
    toy_runner(tmp_path / 'work', load_from=path).test()


def load_pretrained(path, tmp_path, monkeypatch):
    cfg = dict(type='Pretrained', checkpoint=path)
    MODELS.build(dict(type='mmdet.ResNet', depth=18, init_cfg=cfg)).init_weights()


def load_pretrained_backbone(path, tmp_path, monkeypatch):
    cfg = dict(type='Pretrained', checkpoint=path)
    MODELS.build(dict(type='PanopticResNet', depth=18, init_cfg=cfg)).init_weights()


def load_detector(path, tmp_path, monkeypatch):
    init_detector(str(TINY), path, device='cpu')


def load_inferencer(path, tmp_path, monkeypatch):
    DetInferencer(str(TINY), path, device='cpu')


ROUTES = [
    load_from_address,
    load_in_training,
    load_when_resuming,
    load_the_newest,
    load_in_testing,
    load_pretrained,
    load_pretrained_backbone,
    load_detector,
    load_inferencer,
]


@pytest.mark.parametrize('route', ROUTES)
def test_every_route_reads_weights_only_and_says_what_is_wrong(tmp_path, monkeypatch, route):
    """Also where the user's environment asks torch for the opposite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    hostile = save(tmp_path, state_dict={}, extra=ATTACKS['eval'])
    with pytest.raises(UserError, match='could run foreign code'):
        route(hostile, tmp_path / 'hostile', monkeypatch)
    assert not (tmp_path / 'attacked').exists()
    (tmp_path / 'damaged.pth').write_bytes(Path(hostile).read_bytes()[:300])
    with pytest.raises(UserError, match='damaged'):
        route(str(tmp_path / 'damaged.pth'), tmp_path / 'damaged', monkeypatch)
    spoiled = save(tmp_path, state_dict={'conv.weight': torch.tensor([1, float('nan')])})
    with pytest.raises(UserError, match=r"pth has weights .* not finite .'conv.weight' has nan"):
        route(spoiled, tmp_path / 'spoiled', monkeypatch)
    assert os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] == '1'


def test_a_script_may_load_its_own_pickles(tmp_path):
    path = save(tmp_path, extra=Attack(sorted, (2, 1)))
    with pytest.raises(UserError, match='foreign code'):
        CheckpointLoader.load_checkpoint(path)
    assert torch.load(path, weights_only=False)['extra'] == [1, 2]


@pytest.mark.parametrize('version', ['2.4.1', '2.9.1+cu128', '2.9.0a0+git1234', '1.13.1'])
def test_a_torch_with_an_unsafe_unpickler_is_refused(version):
    """CVE-2026-24747: versions up to 2.9.1."""
    with pytest.raises(UserError, match=rf'torch {re.escape(version)} .*2.10 .*CVE-2026-24747'):
        compat.refuse_old_torch(version)


def test_a_safe_torch_is_taken():
    for version in ('2.10.0', '2.13.0+cpu', '3.0'):
        compat.refuse_old_torch(version)


def test_an_old_torch_is_refused_when_the_package_is_imported():
    finished = python('import torch; torch.__version__ = "2.9.1"; import cmt_deeplab')
    assert (
        finished.stderr.strip()
        .splitlines()[-1]
        .startswith('cmt_deeplab.errors.UserError: torch 2.9.1 is installed')
    )


@pytest.mark.parametrize('content', [b'', b'hello', b'PK\x03\x04 cut'])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / 'damaged.pth').write_bytes(content)
    with pytest.raises(ValueError, match=r'damaged\.pth is damaged'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'damaged.pth'))


def test_an_address_with_other_content_than_its_name_says_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))

    def other_content(*args, **kwargs):
        raise RuntimeError('invalid hash value')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', other_content)
    with pytest.raises(UserError, match=r'https://example.invalid/far.pth is damaged'):
        CheckpointLoader.load_checkpoint('https://example.invalid/far.pth')


def test_a_name_that_no_library_has_is_named():
    with pytest.raises(UserError, match='open-mmlab://no_such_model cannot be read'):
        CheckpointLoader.load_checkpoint('open-mmlab://no_such_model')


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


def test_weights_of_torchvision_are_found_without_it_and_told_where_to_lie(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(compat.importlib.util, 'find_spec', lambda name: None)
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    monkeypatch.setattr(checkpoint, 'get_torchvision_models', checkpoint.get_torchvision_models)
    compat.provide_torchvision_addresses()

    def unreachable(*args, **kwargs):
        raise urllib.error.URLError('no route to host')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', unreachable)
    with pytest.raises(FileNotFoundError) as caught:
        CheckpointLoader.load_checkpoint('torchvision://resnet50')
    file = 'resnet50-0676ba61.pth'
    assert (
        f'fetch https://download.pytorch.org/models/{file} on a machine with a connection, and '
        f'copy it to {tmp_path}/hub/checkpoints/{file}, or give its path.'
    ) in str(caught.value)


def test_an_absent_file_stays_an_absent_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_weights_only(str(tmp_path / 'absent.pth'))


@pytest.mark.parametrize(
    'tool, error, said',
    [
        ('test.py', UserError('Two words.'), 'Error: Two words.'),
        ('test.py', AttributeError('x'), 'AttributeError: x'),
        (
            'analysis_tools/confusion_matrix.py',
            KeyError('x'),
            'Error: .* use .*/tools/analysis_tools/conf',
        ),
        ('analysis_tools/analyze_results.py', OSError(2, 'gone', 'x.pkl'), 'Error: x.pkl: gone'),
        ('analysis_tools/analyze_results.py', AssertionError(), "Error: mmdet's analyze_results"),
        ('analysis_tools/fuse_results.py', AttributeError('x'), 'AttributeError: x'),
    ],
)
def test_a_tool_of_mmdet_ends_with_a_sentence_that_names_ours(
    monkeypatch, capsys, tool, error, said
):
    monkeypatch.setattr(sys, 'argv', [f'/site-packages/mmdet/.mim/tools/{tool}'])
    monkeypatch.setattr(sys, 'excepthook', sys.__excepthook__)
    compat.end_tools_of_mmdet_with_a_sentence()
    try:
        raise error
    except Exception:
        sys.excepthook(*sys.exc_info())
    assert re.search(f'^{said}', capsys.readouterr().err, re.MULTILINE)


def test_applying_twice_changes_nothing():
    load = CheckpointLoader.load_checkpoint
    safe = len(torch.serialization.get_safe_globals())
    compat.apply()
    assert CheckpointLoader.load_checkpoint is load
    assert len(torch.serialization.get_safe_globals()) == safe
